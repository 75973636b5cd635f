// SPDX-License-Identifier: Apache-2.0
#include "region/vm/states.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace vmferry::region::vm {
namespace {

template <typename State>
using Step = std::pair<State, State>;

using I = InstanceState;
// An instance made by an import is stopped at first. A guest that powers off by itself goes from
// running to stopped; one that fails to start goes from pending to stopped.
constexpr std::array kInstanceSteps = {
    Step<I>{I::kPending, I::kRunning},         Step<I>{I::kPending, I::kStopped},
    Step<I>{I::kPending, I::kShuttingDown},    Step<I>{I::kRunning, I::kStopping},
    Step<I>{I::kRunning, I::kStopped},         Step<I>{I::kRunning, I::kShuttingDown},
    Step<I>{I::kStopping, I::kStopped},        Step<I>{I::kStopping, I::kShuttingDown},
    Step<I>{I::kStopped, I::kPending},         Step<I>{I::kStopped, I::kShuttingDown},
    Step<I>{I::kShuttingDown, I::kTerminated},
};

using V = VolumeState;
constexpr std::array kVolumeSteps = {
    Step<V>{V::kCreating, V::kAvailable}, Step<V>{V::kCreating, V::kError},
    Step<V>{V::kCreating, V::kDeleting},  Step<V>{V::kAvailable, V::kInUse},
    Step<V>{V::kAvailable, V::kDeleting}, Step<V>{V::kInUse, V::kAvailable},
    Step<V>{V::kInUse, V::kDeleting},     Step<V>{V::kError, V::kDeleting},
};

using S = SnapshotState;
constexpr std::array kSnapshotSteps = {
    Step<S>{S::kPending, S::kCompleted},
    Step<S>{S::kPending, S::kError},
};

template <typename State>
bool Listed(std::span<const Step<State>> steps, State from, State to) {
  return std::find(steps.begin(), steps.end(), Step<State>{from, to}) != steps.end();
}

}  // namespace

std::string_view StateName(InstanceState state) {
  switch (state) {
    case I::kPending:
      return "pending";
    case I::kRunning:
      return "running";
    case I::kShuttingDown:
      return "shutting-down";
    case I::kTerminated:
      return "terminated";
    case I::kStopping:
      return "stopping";
    case I::kStopped:
      return "stopped";
  }
  return "unknown";
}

std::string_view StateName(VolumeState state) {
  switch (state) {
    case V::kCreating:
      return "creating";
    case V::kAvailable:
      return "available";
    case V::kInUse:
      return "in-use";
    case V::kDeleting:
      return "deleting";
    case V::kError:
      return "error";
  }
  return "unknown";
}

std::string_view StateName(SnapshotState state) {
  switch (state) {
    case S::kPending:
      return "pending";
    case S::kCompleted:
      return "completed";
    case S::kError:
      return "error";
  }
  return "unknown";
}

std::string_view StateName(AttachState state) {
  switch (state) {
    case AttachState::kAttached:
      return "attached";
    case AttachState::kAttaching:
      return "attaching";
    case AttachState::kDetaching:
      return "detaching";
  }
  return "unknown";
}

bool MayFollow(InstanceState from, InstanceState to) {
  return Listed<InstanceState>(kInstanceSteps, from, to);
}
bool MayFollow(VolumeState from, VolumeState to) {
  return Listed<VolumeState>(kVolumeSteps, from, to);
}
bool MayFollow(SnapshotState from, SnapshotState to) {
  return Listed<SnapshotState>(kSnapshotSteps, from, to);
}

}  // namespace vmferry::region::vm
