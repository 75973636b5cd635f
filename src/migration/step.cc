// SPDX-License-Identifier: Apache-2.0
#include "migration/step.h"

#include <algorithm>
#include <utility>

namespace vmferry::migration {
namespace {

template <typename Enum, std::size_t N>
using Names = std::array<std::pair<Enum, std::string_view>, N>;

constexpr Names<Step, 7> kStepNames = {{{Step::kAssess, "assess"},
                                        {Step::kTransfer, "transfer"},
                                        {Step::kImport, "import"},
                                        {Step::kVerify, "verify"},
                                        {Step::kLaunch, "launch"},
                                        {Step::kCheck, "check"},
                                        {Step::kClean, "clean"}}};
constexpr Names<StepStatus, 5> kStatusNames = {{{StepStatus::kPending, "pending"},
                                                {StepStatus::kRunning, "running"},
                                                {StepStatus::kDone, "done"},
                                                {StepStatus::kFailed, "failed"},
                                                {StepStatus::kSkipped, "skipped"}}};
constexpr Names<MigrationState, 6> kStateNames = {{{MigrationState::kRunning, "running"},
                                                   {MigrationState::kStopped, "stopped"},
                                                   {MigrationState::kFailed, "failed"},
                                                   {MigrationState::kCancelling, "cancelling"},
                                                   {MigrationState::kCancelled, "cancelled"},
                                                   {MigrationState::kDone, "done"}}};

constexpr std::pair<MigrationState, MigrationState> kTransitions[] = {
    {MigrationState::kRunning, MigrationState::kRunning},  // resumed after a crash
    {MigrationState::kRunning, MigrationState::kStopped},
    {MigrationState::kRunning, MigrationState::kFailed},
    {MigrationState::kRunning, MigrationState::kDone},
    {MigrationState::kRunning, MigrationState::kCancelling},
    {MigrationState::kStopped, MigrationState::kRunning},
    {MigrationState::kStopped, MigrationState::kCancelling},
    {MigrationState::kFailed, MigrationState::kRunning},
    {MigrationState::kFailed, MigrationState::kCancelling},
    {MigrationState::kCancelling, MigrationState::kCancelling},  // cancelled again after a crash
    {MigrationState::kCancelling, MigrationState::kCancelled},
};

template <typename Enum, std::size_t N>
std::string_view NameOf(const Names<Enum, N>& names, Enum value) {
  for (const auto& [candidate, name] : names) {
    if (candidate == value) return name;
  }
  return "";
}

template <typename Enum, std::size_t N>
std::optional<Enum> ValueOf(const Names<Enum, N>& names, std::string_view text) {
  for (const auto& [value, name] : names) {
    if (name == text) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string_view StepName(Step step) { return NameOf(kStepNames, step); }
std::optional<Step> ParseStep(std::string_view name) { return ValueOf(kStepNames, name); }
std::string_view StepStatusName(StepStatus status) { return NameOf(kStatusNames, status); }
std::optional<StepStatus> ParseStepStatus(std::string_view name) {
  return ValueOf(kStatusNames, name);
}
std::string_view MigrationStateName(MigrationState state) { return NameOf(kStateNames, state); }
std::optional<MigrationState> ParseMigrationState(std::string_view name) {
  return ValueOf(kStateNames, name);
}

bool MayFollow(MigrationState from, MigrationState to) {
  return std::find(std::begin(kTransitions), std::end(kTransitions), std::pair(from, to)) !=
         std::end(kTransitions);
}

bool IsResumable(MigrationState state) { return MayFollow(state, MigrationState::kRunning); }

}  // namespace vmferry::migration
