// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "migration/steps.h"

namespace vmferry::migration {
namespace {

constexpr std::chrono::minutes kRunningLimit(15);
// Status checks need the guest up; one that boots under emulation takes minutes.
constexpr std::chrono::minutes kStatusLimit(20);

Result<aws::ec2::Instance> FindInstance(StepContext& context, const std::string& id) {
  VMFERRY_ASSIGN_OR_RETURN(auto instances,
                           context.cloud.ec2().DescribeInstances({.ids = {id}}, context.op));
  if (!instances.empty()) return std::move(instances.front());
  return Error(ErrorCode::kNotFound, "launch.instance_gone",
               fmt::format("instance {} no longer exists", id));
}

Error DidNotComeUp(std::string message) {
  return Error(ErrorCode::kFailedPrecondition, "launch.not_up", std::move(message))
      .WithRemedy("look at its console (vmferry region console, aws ec2 get-console-output)");
}

}  // namespace

Result<std::string> RunLaunch(StepContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, context.journal.Fact("instance_id"));
  VMFERRY_ASSIGN_OR_RETURN(const aws::ec2::Instance before, FindInstance(context, id));
  if (before.state == "stopped") {
    VMFERRY_ASSIGN_OR_RETURN(const auto changes,
                             context.cloud.ec2().StartInstances(std::span(&id, 1), context.op));
  }
  aws::ec2::Instance instance;
  VMFERRY_RETURN_IF_ERROR(PollUntil(
      context, kRunningLimit, "launch.not_running", "the instance to run", [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(instance, FindInstance(context, id));
        context.Report(Step::kLaunch, 0, 0, "instance: " + instance.state);
        if (instance.state == "running") return true;
        if (instance.state == "pending" || instance.state == "stopping") return false;
        return DidNotComeUp(fmt::format("instance {} is {} instead of running: {}", id,
                                        instance.state, instance.state_reason));
      }));
  VMFERRY_RETURN_IF_ERROR(PollUntil(
      context, kStatusLimit, "launch.not_up", "both status checks", [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(const auto statuses, context.cloud.ec2().DescribeInstanceStatus(
                                                          std::span(&id, 1), context.op));
        if (statuses.empty()) return false;
        const aws::ec2::InstanceStatus& status = statuses.front();
        context.Report(
            Step::kLaunch, 0, 0,
            fmt::format("status checks: system {}, instance {}", status.system, status.instance));
        if (status.instance_state != "running") {
          return DidNotComeUp(
              fmt::format("instance {} went from running to {}", id, status.instance_state));
        }
        if (status.system == "impaired" || status.instance == "impaired") {
          return DidNotComeUp(
              fmt::format("instance {} runs, but its status checks are impaired", id));
        }
        return status.system == "ok" && status.instance == "ok";
      }));
  return fmt::format("instance {} runs, both status checks passed", id);
}

}  // namespace vmferry::migration
