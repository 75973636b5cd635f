// SPDX-License-Identifier: Apache-2.0
//
// ConversionTask: what DescribeConversionTasks tells about one ImportInstance or ImportVolume, and
// how it moves.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "region/core/faults.h"
#include "region/import/manifest.h"

namespace vmferry::region {

/// EC2's states; a failure ends as `cancelled` too. Stored in the database: never renumber.
enum class TaskState : std::uint8_t {
  kActive = 0,
  kCancelling = 1,
  kCancelled = 2,
  kCompleted = 3,
};
/// "active", "cancelling", "cancelled", "completed".
std::string_view TaskStateName(TaskState state);
bool MayFollow(TaskState from, TaskState to);
inline bool IsFinal(TaskState state) {
  return state == TaskState::kCancelled || state == TaskState::kCompleted;
}

/// How far an active task is. After a restart the stage is begun again. Never renumber.
enum class TaskStage : std::uint8_t {
  kDownload = 0,  ///< waits for the manifest and the parts, and collects them
  kConvert = 1,   ///< the upload is complete; qemu-img makes the volume
  kInstance = 2,  ///< the volume is there and is attached
};

struct ConversionTask {
  std::string id;  ///< "import-i-" or "import-vol-" and 8 characters
  TaskState state = TaskState::kActive;
  TaskStage stage = TaskStage::kDownload;
  std::string message;           ///< statusMessage of the task; for failures "ClientError: ..."
  std::int64_t create_time = 0;  ///< seconds since the epoch
  std::int64_t expire_time = 0;  ///< an upload not complete by then is given up
  std::string instance_id;       ///< empty: ImportVolume
  std::string volume_id;         ///< shown once the volume exists
  std::string platform;          ///< as requested: "Windows", "Linux"
  std::string description;
  std::string disk_description;
  std::string zone;
  ImageFormat format = ImageFormat::kRaw;
  std::uint64_t image_bytes = 0;  ///< as requested
  std::string manifest_url;
  std::uint64_t volume_gib = 0;
  std::uint64_t bytes_converted = 0;
  int convert_percent = -1;  ///< -1: the conversion has not begun
};

/// The failure asked for at this stage ("import.convert"), if there is one: region.client_error.
Result<void> CheckStageFault(FaultRules& faults, std::string_view stage);

/// statusMessage of the disk while the task is active: "Pending : Downloaded 0", "Progress: 50%".
std::string DiskMessage(const ConversionTask& task);

}  // namespace vmferry::region
