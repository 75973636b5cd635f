// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

void PrintRegion(CommandContext& context, const RegionView& region) {
  if (context.arguments.output != OutputForm::kText) {
    text::Json json = text::Json::MakeObject();
    json.Set("schema", "vmferry.region/1")
        .Set("running", region.running)
        .Set("started_now", region.started_now)
        .Set("pid", region.pid)
        .Set("port", std::int64_t{region.port})
        .Set("endpoint", region.endpoint)
        .Set("region", region.region_name)
        .Set("folder", region.folder.string());
    fmt::print(context.world.out, "{}\n", json.Dump(context.arguments.output == OutputForm::kJson));
    return;
  }
  if (!region.running) {
    fmt::print(context.world.out, "the embedded region does not run (folder {})\n",
               region.folder.string());
    return;
  }
  fmt::print(context.world.out, "{}",
             FormatTable({{"state", region.started_now ? "running, started now" : "running"},
                          {"endpoint", region.endpoint},
                          {"region", region.region_name},
                          {"process", std::to_string(region.pid)},
                          {"folder", region.folder.string()}}));
}

}  // namespace

Result<void> RunRegionCommand(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  World& world = context.world;
  const OpContext op{.stop = world.stop};
  const RegionStart start{
      .folder = arguments.folder, .port = arguments.port, .strict = arguments.strict};
  switch (arguments.command) {
    case CommandName::kRegionStart: {
      VMFERRY_ASSIGN_OR_RETURN(const RegionView region, world.region.Start(start, op));
      PrintRegion(context, region);
      return {};
    }
    case CommandName::kRegionStop:
      return world.region.Stop(arguments.folder, op);
    case CommandName::kRegionStatus: {
      VMFERRY_ASSIGN_OR_RETURN(const RegionView region, world.region.Status(arguments.folder));
      PrintRegion(context, region);
      return {};
    }
    case CommandName::kRegionEnv: {
      VMFERRY_ASSIGN_OR_RETURN(const std::string commands, world.region.Env(arguments.folder));
      fmt::print(world.out, "{}", commands);
      return {};
    }
    case CommandName::kRegionConsole: {
      VMFERRY_ASSIGN_OR_RETURN(const std::string console,
                               world.region.Console(arguments.folder, arguments.instance, op));
      fmt::print(world.out, "{}", console);
      return {};
    }
    default: {
      VMFERRY_ASSIGN_OR_RETURN(const std::string text,
                               world.region.Faults(arguments.folder, arguments.fault, op));
      fmt::print(world.out, "{}", text);
      return {};
    }
  }
}

}  // namespace vmferry::cli
