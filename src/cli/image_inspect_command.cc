// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/report.h"
#include "image/open.h"

namespace vmferry::cli {

Result<void> RunImageInspect(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const image::OpenedDisk disk,
                           image::OpenDisk(context.arguments.source, {.allow_running = true}));
  const image::DiskImageInfo& info = disk.image->Info();
  if (context.arguments.output != OutputForm::kText) {
    text::Json details = text::Json::MakeObject();
    for (const auto& [name, value] : info.details) details.Set(name, value);
    text::Json defects = text::Json::MakeArray();
    for (const std::string& defect : info.defects) defects.Append(defect);
    text::Json json = text::Json::MakeObject();
    json.Set("schema", "vmferry.image/1")
        .Set("path", context.arguments.source)
        .Set("format", info.format)
        .Set("subformat", info.subformat)
        .Set("wire_format", info.wire_format)
        .Set("virtual_size_bytes", info.virtual_size_bytes)
        .Set("stored_size_bytes", info.stored_size_bytes)
        .Set("creator", info.creator)
        .Set("details", std::move(details))
        .Set("defects", std::move(defects));
    fmt::print(context.world.out, "{}\n", json.Dump(true));
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"format", info.subformat.empty() ? info.format : info.format + " " + info.subformat},
      {"virtual size",
       fmt::format("{} ({} bytes)", FormatSize(info.virtual_size_bytes), info.virtual_size_bytes)},
      {"stored size",
       fmt::format("{} ({} bytes)", FormatSize(info.stored_size_bytes), info.stored_size_bytes)},
      {"ImportInstance",
       info.wire_format.empty() ? "not taken as stored" : "taken as " + info.wire_format}};
  if (!info.creator.empty()) rows.push_back({"creator", info.creator});
  for (const auto& [name, value] : info.details) rows.push_back({name, value});
  for (const std::string& defect : info.defects) rows.push_back({"defect", defect});
  fmt::print(context.world.out, "{}", FormatTable(rows));
  return {};
}

}  // namespace vmferry::cli
