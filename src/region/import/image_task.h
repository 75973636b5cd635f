// SPDX-License-Identifier: Apache-2.0
//
// ImageTask: one ImportImage or ImportSnapshot: what was asked for, how far it is, and what
// DescribeImportImageTasks and DescribeImportSnapshotTasks tell about it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "region/import/fetch.h"
#include "region/import/manifest.h"
#include "region/import/task.h"
#include "text/json.h"

namespace vmferry::region {

enum class ImageTaskKind : std::uint8_t { kImage, kSnapshot };

/// How far an active task is. Never renumber.
enum class ImageStage : std::uint8_t {
  kFetch = 0,     ///< the uploads are copied out of S3, an OVA is taken apart
  kConvert = 1,   ///< qemu-img makes raw disks
  kInspect = 2,   ///< ImportImage: what is on the disks?
  kSnapshot = 3,  ///< the raw disks become snapshots
  kRegister = 4,  ///< ImportImage: the machine image is recorded; the task is completed
};

/// One disk: a disk container of the request, or one of the disks of an OVA.
struct ImportDisk {
  ImageFormat format = ImageFormat::kRaw;
  std::string url;    ///< as requested; empty: user_bucket or given_snapshot
  ObjectName object;  ///< of the request's UserBucket
  std::string given_snapshot;
  std::string device;
  std::string description;
  std::uint64_t file_bytes = 0;  ///< diskImageSize; 0 until it is known
  std::uint64_t disk_gib = 0;    ///< 0 until it is converted
  std::string snapshot_id;       ///< chosen before it exists; for given_snapshot the same
};

struct ImageTask {
  std::string id;  ///< "import-ami-" or "import-snap-" and 17 hexadecimal digits
  ImageTaskKind kind = ImageTaskKind::kImage;
  /// kCancelling and kCancelled are called deleting and deleted here.
  TaskState state = TaskState::kActive;
  ImageStage stage = ImageStage::kFetch;
  std::string message;           ///< why it was deleted
  std::int64_t create_time = 0;  ///< seconds since the epoch
  std::int64_t end_time = 0;     ///< 0: has not ended
  std::string client_token;
  std::string request_digest;  ///< of all other parameters

  // As requested.
  std::string description;
  std::string architecture;  ///< ImportImage: "x86_64", until the disk says more
  std::string boot_mode;     ///< "legacy-bios", "uefi"; empty: by what is found
  std::string platform;      ///< "Linux", "Windows"; empty: by what is found
  std::string license_type;
  std::string usage_operation;
  std::string role;
  std::vector<ImportDisk> containers;

  // As found.
  std::vector<ImportDisk> disks;  ///< the containers, or what an OVA among them holds
  std::size_t root_disk = 0;      ///< index in `disks`
  std::string found_boot_mode;
  std::string system;  ///< "Debian GNU/Linux 12 (bookworm) - 6.1.0-56-cloud-amd64"
  bool ena_support = false;
  std::string image_id;

  // Not durable.
  int percent = 0;  ///< of the stage
};

/// "active", "deleting", "deleted", "completed".
std::string_view ImageTaskStatus(TaskState state);
/// "pending", "converting", "updating", "preparing ami"; for snapshots "pending",
/// "downloading/converting"; the reason of the end for a task that was deleted.
/// Source: transcripts of the two Describe calls, kept by their users.
std::string ImageTaskMessage(const ImageTask& task);
/// 0 to 99 in the order of the stages; -1: not shown.
int ImageTaskProgress(const ImageTask& task);

/// "/dev/sda1" for the root disk, "/dev/sdb"... for the others, in the order of the disks.
std::string DeviceOf(const ImageTask& task, std::size_t disk);

/// All that is stored beside id, state, stage and message.
text::Json ToJson(const ImageTask& task);
void FromJson(const text::Json& json, ImageTask& task);

}  // namespace vmferry::region
