// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "cli/commands.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

constexpr std::chrono::seconds kWatchInterval(2);

Result<std::vector<migration::MigrationView>> Views(CommandContext& context, Session& session) {
  if (context.arguments.id.empty()) return session.operations().List();
  VMFERRY_ASSIGN_OR_RETURN(migration::MigrationView view,
                           session.operations().View(context.arguments.id));
  std::vector<migration::MigrationView> views;
  views.push_back(std::move(view));
  return views;
}

void Print(CommandContext& context, const std::vector<migration::MigrationView>& views) {
  std::FILE* out = context.world.out;
  switch (context.arguments.output) {
    case OutputForm::kText:
      fmt::print(out, "{}",
                 context.arguments.id.empty() ? DescribeMigrations(views)
                                              : DescribeMigration(views.front()));
      break;
    case OutputForm::kJson: {
      text::Json array = text::Json::MakeArray();
      for (const auto& view : views) array.Append(MigrationToJson(view));
      text::Json json = text::Json::MakeObject();
      json.Set("schema", "vmferry.status/1").Set("migrations", std::move(array));
      fmt::print(out, "{}\n", json.Dump(true));
      break;
    }
    case OutputForm::kJsonl:
      for (const auto& view : views) fmt::print(out, "{}\n", MigrationToJson(view).Dump());
      break;
  }
  std::fflush(out);
}

std::string DescribeCleanup(const migration::CleanupReport& report) {
  std::string text =
      fmt::format("{} objects and {} snapshots removed", report.objects, report.snapshots);
  if (report.bucket_removed) text += ", bucket removed";
  if (!report.bucket_kept_because.empty()) {
    text += ", bucket kept: " + report.bucket_kept_because;
  }
  return text;
}

void PrintCleanup(CommandContext& context, std::string_view what,
                  const migration::CleanupReport& report) {
  if (context.arguments.output == OutputForm::kText) {
    fmt::print(context.world.out, "{} {}: {}\n", context.arguments.id, what,
               DescribeCleanup(report));
    return;
  }
  text::Json json = text::Json::MakeObject();
  json.Set("schema", "vmferry.cleanup/1")
      .Set("id", context.arguments.id)
      .Set("objects", report.objects)
      .Set("snapshots", report.snapshots)
      .Set("bucket_removed", report.bucket_removed)
      .Set("bucket_kept_because", report.bucket_kept_because);
  fmt::print(context.world.out, "{}\n", json.Dump(context.arguments.output == OutputForm::kJson));
}

}  // namespace

Result<void> RunStatus(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  sys::Clock& clock = context.world.clock;
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const auto views, Views(context, *session));
    Print(context, views);
    const bool any_running =
        std::any_of(views.begin(), views.end(), [](const auto& view) { return view.in_progress; });
    if (!context.arguments.watch || !any_running || context.world.stop.stop_requested()) return {};
    clock.SleepUntil(clock.MonotonicNow() + kWatchInterval, context.world.stop);
  }
}

Result<void> RunCancel(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  VMFERRY_ASSIGN_OR_RETURN(
      const migration::CleanupReport report,
      session->operations().Cancel(context.arguments.id, {.stop = context.world.stop}));
  PrintCleanup(context, "cancelled", report);
  return {};
}

Result<void> RunCleanCommand(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  VMFERRY_ASSIGN_OR_RETURN(
      const migration::CleanupReport report,
      session->operations().Clean(context.arguments.id, {.stop = context.world.stop}));
  PrintCleanup(context, "cleaned", report);
  return {};
}

}  // namespace vmferry::cli
