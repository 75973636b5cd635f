// SPDX-License-Identifier: Apache-2.0
//
// States of instances, volumes and snapshots, and which may follow which: data, not code.
//
// The numbers are stored in the database: never renumber.

#pragma once

#include <cstdint>
#include <string_view>

namespace vmferry::region::vm {

/// Numbers are EC2's instance state codes.
enum class InstanceState : std::uint8_t {
  kPending = 0,
  kRunning = 16,
  kShuttingDown = 32,
  kTerminated = 48,
  kStopping = 64,
  kStopped = 80,
};

enum class VolumeState : std::uint8_t {
  kCreating = 0,
  kAvailable = 1,
  kInUse = 2,
  kDeleting = 3,
  kError = 4,
};

/// Of a volume that is in use, or about to be or to cease.
enum class AttachState : std::uint8_t { kAttached = 0, kAttaching = 1, kDetaching = 2 };

enum class SnapshotState : std::uint8_t {
  kPending = 0,
  kCompleted = 1,
  kError = 2,
};

/// What the checks of a running instance found.
enum class CheckState : std::uint8_t {
  kInitializing = 0,  ///< the guest has not come up yet
  kPassed = 1,        ///< it has shown a login prompt or sent bytes on its SSH port
  kImpaired = 2,      ///< it did neither within its time
};

/// EC2's names: "shutting-down", "in-use".
std::string_view StateName(InstanceState state);
std::string_view StateName(VolumeState state);
std::string_view StateName(SnapshotState state);
std::string_view StateName(AttachState state);

bool MayFollow(InstanceState from, InstanceState to);
bool MayFollow(VolumeState from, VolumeState to);
bool MayFollow(SnapshotState from, SnapshotState to);

}  // namespace vmferry::region::vm
