// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/report.h"
#include "migration/error_json.h"

namespace vmferry::cli {
namespace {

Result<void> RunCommand(CommandContext& context) {
  switch (context.arguments.command) {
    case CommandName::kMigrate:
      return RunMigrate(context);
    case CommandName::kStatus:
      return RunStatus(context);
    case CommandName::kResume:
      return RunResume(context);
    case CommandName::kCancel:
      return RunCancel(context);
    case CommandName::kClean:
      return RunCleanCommand(context);
    case CommandName::kVerify:
      return RunVerifyCommand(context);
    case CommandName::kImageInspect:
      return RunImageInspect(context);
    case CommandName::kImageConvert:
      return RunImageConvert(context);
    case CommandName::kImageMap:
      return RunImageMap(context);
    case CommandName::kImageCompare:
      return RunImageCompare(context);
    case CommandName::kImageHash:
      return RunImageHash(context);
    case CommandName::kRegionStart:
    case CommandName::kRegionStop:
    case CommandName::kRegionStatus:
    case CommandName::kRegionEnv:
    case CommandName::kRegionConsole:
    case CommandName::kRegionFaults:
      return RunRegionCommand(context);
  }
  return {};
}

/// `answered`: standard output has its document already.
int ReportError(const Error& error, OutputForm form, bool answered, World& world) {
  fmt::print(world.talk, "{}", DescribeError(error));
  if (form != OutputForm::kText && !answered) {
    text::Json json = text::Json::MakeObject();
    json.Set("schema", "vmferry.error/1").Set("error", migration::ErrorToJson(error));
    fmt::print(world.out, "{}\n", json.Dump(form == OutputForm::kJson));
  }
  return static_cast<int>(ExitCodeOf(error));
}

}  // namespace

int RunCli(int argc, const char* const* argv, World& world) {
  const auto parsed = ParseArguments(argc, argv);
  if (!parsed) return ReportError(parsed.error(), OutputForm::kText, false, world);
  if (!parsed->arguments) {
    fmt::print(world.out, "{}", parsed->text);
    return 0;
  }
  CommandContext context{*parsed->arguments, world};
  const auto outcome = RunCommand(context);
  if (!outcome) {
    return ReportError(outcome.error(), parsed->arguments->output, context.answered, world);
  }
  return std::fflush(world.out) == 0 ? 0 : static_cast<int>(ExitCode::kUnexpected);
}

}  // namespace vmferry::cli
