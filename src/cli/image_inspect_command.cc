// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "cli/appliance_report.h"
#include "cli/commands.h"
#include "cli/disk_report.h"
#include "cli/open_options.h"
#include "cli/render.h"
#include "image/appliance.h"

namespace vmferry::cli {
namespace {

using text::Json;

Json WithSchema(Json members) {
  Json json = Json::MakeObject();
  json.Set("schema", "vmferry.image/1");
  for (const auto& [name, value] : members.Members()) json.Set(name, value);
  return json;
}

void Print(CommandContext& context, const std::string& text, Json json) {
  const OutputForm form = context.arguments.output;
  fmt::print(context.world.out, "{}",
             form == OutputForm::kText
                 ? text
                 : WithSchema(std::move(json)).Dump(form == OutputForm::kJson) + "\n");
  context.answered = true;
}

/// Opens a disk also when something is writing to it, and says so.
Result<image::OpenedDisk> OpenToLookAt(const std::string& location, image::OpenOptions options) {
  auto disk = image::OpenDisk(location, options);
  if (disk || disk.error().reason() != "image.in_use") return disk;
  const std::string remark = disk.error().message() + ": what is shown may change meanwhile";
  options.allow_running = true;
  VMFERRY_ASSIGN_OR_RETURN(image::OpenedDisk opened, image::OpenDisk(location, options));
  opened.remarks.push_back(remark);
  return opened;
}

Result<void> InspectDisk(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  VMFERRY_ASSIGN_OR_RETURN(image::OpenedDisk disk,
                           OpenToLookAt(arguments.source, OpenOptionsOf(arguments)));
  VMFERRY_ASSIGN_OR_RETURN(const DiskReport report,
                           ReportDisk(arguments.source, std::move(disk), context.world.stop));
  Print(context, DescribeDisk(report), DiskToJson(report));
  return {};
}

/// Reads all files that the manifest names.
Result<std::vector<image::DigestCheck>> CheckFiles(CommandContext& context,
                                                   const image::Appliance& appliance) {
  ByteProgress progress(context.world, "verifying");
  return image::CheckManifest(
      appliance, [&](std::uint64_t done_bytes, std::uint64_t total_bytes) -> Result<void> {
        progress.Update(done_bytes, total_bytes);
        if (!context.world.stop.stop_requested()) return {};
        return Error(ErrorCode::kCancelled, "cli.stopped", "checking the manifest was cut short");
      });
}

Result<void> InspectAppliance(CommandContext& context, image::OpenedAppliance opened) {
  const Arguments& arguments = context.arguments;
  if (arguments.disk && *arguments.disk > opened.appliance.disk_files.size()) {
    return InspectDisk(context);  // says which disks there are
  }
  ApplianceReport report = {.path = arguments.source, .appliance = std::move(opened.appliance)};
  for (std::size_t i = 0; i < report.appliance.disk_files.size(); ++i) {
    if (arguments.disk && *arguments.disk != i + 1) continue;
    auto disk = image::OpenApplianceDisk(report.appliance, i);
    if (!disk) {
      report.disks.push_back({.number = i + 1, .report = {}, .problem = std::move(disk).error()});
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(
        DiskReport disk_report,
        ReportDisk(report.appliance.disk_files[i].name,
                   {.image = *std::move(disk), .files = {}, .remarks = {}}, context.world.stop));
    report.disks.push_back(
        {.number = i + 1, .report = std::move(disk_report), .problem = std::nullopt});
  }
  if (arguments.verify_appliance) {
    VMFERRY_ASSIGN_OR_RETURN(report.checks, CheckFiles(context, report.appliance));
  }
  Print(context, DescribeAppliance(report), ApplianceToJson(report));
  return CheckPromises(report);
}

}  // namespace

Result<void> RunImageInspect(CommandContext& context) {
  const Arguments& arguments = context.arguments;
  auto appliance = image::OpenAppliance(
      arguments.source,
      {.allow_running = true, .allow_paths = OpenOptionsOf(arguments).allow_paths, .disk = {}});
  if (appliance) return InspectAppliance(context, *std::move(appliance));
  if (appliance.error().reason() != "image.not_an_appliance") return std::move(appliance).error();
  return InspectDisk(context);
}

}  // namespace vmferry::cli
