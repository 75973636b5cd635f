// SPDX-License-Identifier: Apache-2.0
#include "migration/runner.h"

#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "migration/error_json.h"

namespace vmferry::migration {
namespace {

constexpr std::chrono::milliseconds kControlInterval(300);

using StepFunction = Result<std::string> (*)(StepContext&);

StepFunction FunctionOf(Step step) {
  switch (step) {
    case Step::kAssess:
      return RunAssess;
    case Step::kTransfer:
      return RunTransfer;
    case Step::kImport:
      return RunImport;
    case Step::kVerify:
      return RunVerify;
    case Step::kLaunch:
      return RunLaunch;
    case Step::kCheck:
      return RunCheck;
    case Step::kClean:
      return RunClean;
  }
  return nullptr;
}

bool IsWanted(Step step, const MigrationSpec& spec) {
  if (step == Step::kVerify) return spec.verify != "none";
  if (step == Step::kCheck) return !spec.checks.empty();
  return true;
}

// Watches the journal for a command from another process while a step runs.
class ControlWatch {
 public:
  ControlWatch(StepContext& context, std::stop_source& stop)
      : thread_([this, &context, &stop](std::stop_token ended) {
          while (!ended.stop_requested()) {
            const auto command = context.journal.store().Control(context.journal.id());
            if (command && *command == "cancel") {
              cancel_requested_ = true;
              stop.request_stop();
              return;
            }
            context.clock.SleepUntil(context.clock.MonotonicNow() + kControlInterval, ended);
          }
        }) {}

  bool cancel_requested() const { return cancel_requested_; }

 private:
  std::atomic<bool> cancel_requested_ = false;
  std::jthread thread_;
};

Result<std::string> RunOne(StepContext& context, Step step) {
  Journal& journal = context.journal;
  const auto now = [&] { return context.clock.WallNow(); };
  store::StepRow row{.step = std::string(StepName(step)),
                     .status = std::string(StepStatusName(StepStatus::kRunning)),
                     .started = now(),
                     .ended = std::nullopt,
                     .detail = ""};
  VMFERRY_RETURN_IF_ERROR(journal.store().PutStep(journal.id(), row));
  context.events.OnEvent({.name = "step.started",
                          .migration_id = journal.id(),
                          .text = row.step,
                          .facts = {{"step", row.step}}});
  auto outcome = FunctionOf(step)(context);
  row.ended = now();
  if (!outcome) {
    Error error = std::move(outcome).error().With("step", row.step);
    if (error.code() == ErrorCode::kCancelled) return error;  // stays "running": it goes on later
    row.status = StepStatusName(StepStatus::kFailed);
    row.detail = error.message();
    VMFERRY_RETURN_IF_ERROR(journal.store().PutStep(journal.id(), row));
    return error;
  }
  row.status = StepStatusName(StepStatus::kDone);
  row.detail = *outcome;
  VMFERRY_RETURN_IF_ERROR(journal.store().PutStep(journal.id(), row));
  context.events.OnEvent({.name = "step.done",
                          .migration_id = journal.id(),
                          .text = fmt::format("{}: {}", row.step, row.detail),
                          .facts = {{"step", row.step}, {"detail", row.detail}}});
  return outcome;
}

Result<bool> IsOver(StepContext& context, Step step) {
  VMFERRY_ASSIGN_OR_RETURN(const auto rows, context.journal.store().Steps(context.journal.id()));
  for (const store::StepRow& row : rows) {
    if (row.step != StepName(step)) continue;
    return row.status == StepStatusName(StepStatus::kDone) ||
           row.status == StepStatusName(StepStatus::kSkipped);
  }
  return false;
}

Result<void> Skip(StepContext& context, Step step) {
  const WallTime now = context.clock.WallNow();
  return context.journal.store().PutStep(
      context.journal.id(), {.step = std::string(StepName(step)),
                             .status = std::string(StepStatusName(StepStatus::kSkipped)),
                             .started = now,
                             .ended = now,
                             .detail = "not asked for"});
}

Result<RunOutcome> RunSteps(StepContext& context, std::optional<Step> until) {
  for (const Step step : kSteps) {
    VMFERRY_ASSIGN_OR_RETURN(const bool over, IsOver(context, step));
    if (!over && !IsWanted(step, context.spec)) {
      VMFERRY_RETURN_IF_ERROR(Skip(context, step));
    } else if (!over) {
      if (context.op.stop.stop_requested()) {
        return Error(ErrorCode::kCancelled, "migration.interrupted",
                     fmt::format("stopped before step {}", StepName(step)));
      }
      VMFERRY_ASSIGN_OR_RETURN(const std::string detail, RunOne(context, step));
    }
    if (until == step && step != kSteps.back()) {
      VMFERRY_RETURN_IF_ERROR(context.journal.SetState(MigrationState::kStopped, ""));
      return RunOutcome{.state = MigrationState::kStopped, .stopped_after = step};
    }
  }
  VMFERRY_RETURN_IF_ERROR(context.journal.SetState(MigrationState::kDone, ""));
  return RunOutcome{.state = MigrationState::kDone, .stopped_after = std::nullopt};
}

}  // namespace

Result<RunOutcome> RunMigration(StepContext& context, std::optional<Step> until) {
  VMFERRY_RETURN_IF_ERROR(context.journal.SetState(MigrationState::kRunning, ""));
  std::stop_source stop;
  const std::stop_callback forward(context.op.stop, [&stop] { stop.request_stop(); });
  StepContext inner{context.spec,         context.journal,
                    context.cloud,        context.events,
                    context.clock,        context.network,
                    context.state_folder, {context.op.deadline, stop.get_token()}};
  const ControlWatch watch(inner, stop);

  auto outcome = RunSteps(inner, until);
  if (outcome) return outcome;
  Error error = std::move(outcome).error();
  // Whatever error the stop surfaced as (a cut request, say), the cause is the stop.
  if (watch.cancel_requested()) {
    VMFERRY_RETURN_IF_ERROR(context.journal.SetState(MigrationState::kStopped, ""));
    return Error(ErrorCode::kCancelled, "migration.cancel_requested",
                 "stopped, because another process asked to cancel it");
  }
  if (stop.stop_requested()) {
    VMFERRY_RETURN_IF_ERROR(context.journal.SetState(MigrationState::kStopped, ""));
    return Error(ErrorCode::kCancelled, "migration.interrupted", "stopped, and can be resumed")
        .CausedBy(std::move(error));
  }
  VMFERRY_RETURN_IF_ERROR(
      context.journal.SetState(MigrationState::kFailed, ErrorToJson(error).Dump()));
  return error;
}

}  // namespace vmferry::migration
