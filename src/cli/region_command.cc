// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/report.h"

namespace vmferry::cli {
namespace {

// "3 completed, 1 pending", or "none".
std::string Counts(const text::Json& counts) {
  std::string text;
  for (const auto& [state, count] : counts.Members()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count.AsInt(), state);
  }
  return text.empty() ? "none" : text;
}

std::string DescribeDetails(const text::Json& details) {
  const text::Json& space = details["space_bytes"];
  std::string text = FormatTable(
      {{"volumes", Counts(details["volumes"])},
       {"snapshots", Counts(details["snapshots"])},
       {"space",
        fmt::format("{} ({} of objects, {} of disks)", FormatSize(space["total"].AsUint()),
                    FormatSize(space["objects"].AsUint()), FormatSize(space["disks"].AsUint()))}});
  std::vector<std::vector<std::string>> rows;
  for (const text::Json& item : details["instances"].Items()) {
    const std::int64_t port = item["ssh_port"].AsInt();
    rows.push_back({"instance", item["id"].AsString(), item["state"].AsString(),
                    item["check"].AsString(),
                    port == 0 ? "" : fmt::format("port 22 at 127.0.0.1:{}", port)});
  }
  for (const text::Json& item : details["images"].Items()) {
    rows.push_back(
        {"image", item["id"].AsString(), item["state"].AsString(), "", item["name"].AsString()});
  }
  for (const text::Json& item : details["tasks"].Items()) {
    rows.push_back(
        {"task", item["id"].AsString(), item["state"].AsString(), "", item["message"].AsString()});
  }
  return rows.empty() ? text : text + "\n" + FormatTable(rows);
}

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
    for (const auto& [name, value] : region.details.Members()) json.Set(name, value);
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
  if (!region.details.IsNull())
    fmt::print(context.world.out, "{}", DescribeDetails(region.details));
}

}  // namespace

Result<void> RunRegionCommand(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  World& world = context.world;
  const OpContext op{.stop = world.stop};
  const RegionStart start{.folder = arguments.folder,
                          .port = arguments.port,
                          .strict = arguments.strict,
                          .quotas = arguments.quotas,
                          .ephemeral = arguments.ephemeral};
  switch (arguments.command) {
    case CommandName::kRegionStart: {
      VMFERRY_ASSIGN_OR_RETURN(const RegionView region, world.region.Start(start, op));
      PrintRegion(context, region);
      return {};
    }
    case CommandName::kRegionStop:
      return world.region.Stop(arguments.folder, op);
    case CommandName::kRegionStatus: {
      VMFERRY_ASSIGN_OR_RETURN(RegionView region, world.region.Status(arguments.folder));
      if (region.running) {
        VMFERRY_ASSIGN_OR_RETURN(region.details, world.region.Details(arguments.folder, op));
      }
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
