// SPDX-License-Identifier: Apache-2.0
//
// The words of a migration's life: its steps, their statuses, its states, and which may follow
// which.

#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

namespace vmferry::migration {

/// In the order in which they run. Verify comes before launch, because a boot writes to the disk.
enum class Step { kAssess, kTransfer, kImport, kVerify, kLaunch, kCheck, kClean };

inline constexpr std::array<Step, 7> kSteps = {Step::kAssess, Step::kTransfer, Step::kImport,
                                               Step::kVerify, Step::kLaunch,   Step::kCheck,
                                               Step::kClean};

/// Words are stored in the journal: never rename.
std::string_view StepName(Step step);
std::optional<Step> ParseStep(std::string_view name);

enum class StepStatus {
  kPending,
  kRunning,  ///< also after a crash: nobody wrote another word
  kDone,
  kFailed,
  kSkipped,  ///< the plan does not ask for it
};
std::string_view StepStatusName(StepStatus status);
std::optional<StepStatus> ParseStepStatus(std::string_view name);

enum class MigrationState {
  kRunning,     ///< also after a crash; resumable
  kStopped,     ///< by Ctrl-C or --until; resumable
  kFailed,      ///< a step failed; resumable when its cause is mended
  kCancelling,  ///< cancel has begun; only cancel may go on
  kCancelled,
  kDone,
};
std::string_view MigrationStateName(MigrationState state);
std::optional<MigrationState> ParseMigrationState(std::string_view name);

/// Whether a migration may go from one state to the other.
bool MayFollow(MigrationState from, MigrationState to);
/// True when `resume` may go on from there.
bool IsResumable(MigrationState state);

}  // namespace vmferry::migration
