// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/open_options.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

migration::PlanRequest MakeRequest(const Arguments& arguments) {
  migration::PlanRequest request;
  request.source = arguments.source;
  request.open = OpenOptionsOf(arguments);
  request.cloud = {.to = arguments.to, .region = arguments.region, .profile = arguments.profile};
  request.bucket = arguments.bucket;
  request.dry_run = arguments.dry_run;
  migration::MigrationSpec& options = request.options;
  options.route = arguments.route;
  options.platform = arguments.platform;
  options.architecture = arguments.architecture;
  options.instance_type = arguments.instance_type;
  options.zone = arguments.zone;
  options.subnet = arguments.subnet;
  options.security_groups = arguments.security_groups;
  options.verify = arguments.verify;
  options.keep_snapshot = arguments.keep_snapshot;
  options.checks = arguments.checks;
  options.console_text = arguments.console_text;
  options.parallel = arguments.parallel;
  return request;
}

// What came of it, on standard output.
Result<void> PrintOutcome(CommandContext& context, Session& session, const std::string& id) {
  VMFERRY_ASSIGN_OR_RETURN(const migration::MigrationView view, session.operations().View(id));
  if (context.arguments.output == OutputForm::kText) {
    fmt::print(context.world.out, "{}", DescribeOutcome(view));
  } else {
    const bool pretty = context.arguments.output == OutputForm::kJson;
    fmt::print(context.world.out, "{}\n", MigrationToJson(view).Dump(pretty));
  }
  return {};
}

// A run that did not end tells how to go on.
Error WithResumeHint(Error error, const std::string& id) {
  if (id.empty() || error.reason() == "migration.cancel_requested") return error;
  if (error.code() == ErrorCode::kCancelled || error.remedy().empty()) {
    return std::move(error).WithRemedy(fmt::format("go on with: vmferry resume {}", id));
  }
  if (ExitCodeOf(error) == ExitCode::kUnreachable &&
      error.remedy().find("vmferry resume") == std::string::npos) {
    std::string remedy = fmt::format("{}; then: vmferry resume {}", error.remedy(), id);
    return std::move(error).WithRemedy(std::move(remedy));
  }
  return error;
}

}  // namespace

Result<void> RunMigrate(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  const OpContext op{.stop = context.world.stop};
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  const migration::PlanRequest request = MakeRequest(arguments);
  if (arguments.dry_run) {
    VMFERRY_ASSIGN_OR_RETURN(const migration::PlanView plan,
                             session->operations().Plan(request, op));
    fmt::print(context.world.out, "{}",
               arguments.output == OutputForm::kText ? DescribePlan(plan)
                                                     : PlanToJson(plan).Dump(true) + "\n");
    return {};
  }
  std::string id;
  const auto outcome = session->operations().Begin(
      request, arguments.until,
      [&](const std::string& begun) {
        id = begun;
        session->events().OnEvent({.name = "migration.started",
                                   .migration_id = id,
                                   .text = "migration " + id,
                                   .facts = {{"source", arguments.source}}});
      },
      op);
  if (!outcome) return WithResumeHint(outcome.error(), id);
  return PrintOutcome(context, *session, id);
}

Result<void> RunResume(CommandContext& context) {
  const OpContext op{.stop = context.world.stop};
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  VMFERRY_ASSIGN_OR_RETURN(const std::string id,
                           session->operations().ResumableId(context.arguments.id));
  session->events().OnEvent(
      {.name = "migration.resumed", .migration_id = id, .text = "resuming " + id, .facts = {}});
  const auto outcome = session->operations().Resume(id, context.arguments.until, op);
  if (!outcome) return WithResumeHint(outcome.error(), id);
  return PrintOutcome(context, *session, id);
}

}  // namespace vmferry::cli
