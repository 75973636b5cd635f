// SPDX-License-Identifier: Apache-2.0
//
// Starting, finding and stopping the region's daemon from another process.
//
// Thread safety: all functions, from any thread; two starters of one folder end with one region.

#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "region/control/region.h"
#include "region/control/region_info.h"

namespace vmferry::region::control {

struct StartOptions {
  RegionOptions region;
  /// The program that knows `region serve`: this one.
  std::string program = "/proc/self/exe";
  std::chrono::milliseconds timeout{30'000};
};

struct StartOutcome {
  RegionInfo info;
  bool started = false;  ///< false: it ran before
};

/// Starts the region in the background, or finds the one that runs in the folder (whatever its
/// port). It answers requests when this returns. Its output goes to region.log.
///
/// Errors: those of Region::Start, as the daemon reported them; kUnavailable region.start_failed
/// (it ended without a report, see region.log); kDeadlineExceeded region.start_timeout.
Result<StartOutcome> StartRegion(const StartOptions& options, const World& world);

enum class StopOutcome { kNotRunning, kStopped, kKilled };

/// Ends the region in order: instances power down first. After `timeout` it is killed; instances
/// then live on and are adopted at the next start.
/// Errors: kPermissionDenied region.stop_failed.
Result<StopOutcome> StopRegion(const std::filesystem::path& folder, const World& world,
                               std::chrono::milliseconds timeout = std::chrono::seconds(90));

/// Removes the folder of an ephemeral region that does not run.
void RemoveEphemeral(const std::filesystem::path& folder);

/// Bytes that the folder takes on disk.
std::uint64_t SpaceUsedBytes(const std::filesystem::path& folder);

}  // namespace vmferry::region::control
