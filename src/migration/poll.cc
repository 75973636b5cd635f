// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "migration/source.h"
#include "migration/steps.h"

namespace vmferry::migration {

void StepContext::Note(std::string text) const {
  events.OnEvent(
      {.name = "note", .migration_id = journal.id(), .text = std::move(text), .facts = {}});
}

void StepContext::Report(Step step, std::uint64_t done_bytes, std::uint64_t total_bytes,
                         std::string waiting_for) const {
  events.OnProgress({.migration_id = journal.id(),
                     .step = step,
                     .disk = SourceName(spec.source),
                     .done_bytes = done_bytes,
                     .total_bytes = total_bytes,
                     .waiting_for = std::move(waiting_for)});
}

Result<void> PollUntil(StepContext& context, std::chrono::milliseconds limit,
                       std::string_view timeout_reason, std::string_view waiting_for,
                       const std::function<Result<bool>()>& look) {
  const Deadline deadline = context.clock.DeadlineIn(limit).Earlier(context.op.deadline);
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const bool done, look());
    if (done) return {};
    if (context.op.stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "migration.interrupted",
                   fmt::format("stopped while waiting for {}", waiting_for));
    }
    if (deadline.Passed(context.clock.MonotonicNow())) {
      return Error(ErrorCode::kDeadlineExceeded, timeout_reason,
                   fmt::format(
                       "{} did not come within {}", waiting_for,
                       FormatDuration(std::chrono::duration_cast<std::chrono::seconds>(limit))))
          .WithRemedy("vmferry resume goes on waiting");
    }
    context.clock.SleepFor(context.cloud.PollInterval(), context.op.WithDeadline(deadline));
  }
}

}  // namespace vmferry::migration
