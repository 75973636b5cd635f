// SPDX-License-Identifier: Apache-2.0
#include "region/import/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "region/import/fetch.h"

namespace vmferry::region {
namespace {

constexpr std::array<std::pair<TaskState, TaskState>, 3> kSteps = {{
    {TaskState::kActive, TaskState::kCompleted},
    {TaskState::kActive, TaskState::kCancelling},
    {TaskState::kCancelling, TaskState::kCancelled},
}};

}  // namespace

std::string_view TaskStateName(TaskState state) {
  switch (state) {
    case TaskState::kActive:
      return "active";
    case TaskState::kCancelling:
      return "cancelling";
    case TaskState::kCancelled:
      return "cancelled";
    case TaskState::kCompleted:
      return "completed";
  }
  return "";
}

bool MayFollow(TaskState from, TaskState to) {
  return std::find(kSteps.begin(), kSteps.end(), std::pair(from, to)) != kSteps.end();
}

Result<void> CheckStageFault(FaultRules& faults, std::string_view stage) {
  const std::optional<FaultRule> fault = faults.Take(stage);
  if (!fault || fault->kind != FaultKind::kFail) return {};
  return ClientError(fault->message);
}

std::string DiskMessage(const ConversionTask& task) {
  if (task.state != TaskState::kActive || task.stage == TaskStage::kInstance) return "";
  if (task.convert_percent >= 0) return fmt::format("Progress: {}%", task.convert_percent);
  return fmt::format("Pending : Downloaded {}", task.bytes_converted);
}

}  // namespace vmferry::region
