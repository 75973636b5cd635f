// SPDX-License-Identifier: Apache-2.0
#include "cli/disk_report.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "cli/guest_report.h"
#include "cli/report.h"
#include "guest/inspect.h"
#include "image/extent_walk.h"

namespace vmferry::cli {
namespace {

using text::Json;

using Rows = std::vector<std::vector<std::string>>;

std::string FaultOf(std::string_view what, const Error& error) {
  return fmt::format("{}: {} ({})", what, error.message(), error.reason());
}

Result<KindTotals> AddUp(const image::DiskImage& disk, const std::stop_token& stop) {
  KindTotals totals;
  image::ExtentWalk walk(disk);
  while (true) {
    if (stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "cli.stopped", "looking at the disk was cut short");
    }
    VMFERRY_ASSIGN_OR_RETURN(const std::optional<image::Extent> extent, walk.Next());
    if (!extent) return totals;
    switch (extent->kind) {
      case image::ExtentKind::kData:
        totals.data_bytes += extent->length_bytes;
        break;
      case image::ExtentKind::kZero:
        totals.zero_bytes += extent->length_bytes;
        break;
      case image::ExtentKind::kHole:
        totals.hole_bytes += extent->length_bytes;
        break;
    }
  }
}

std::string_view RoleName(image::FileRole role) {
  switch (role) {
    case image::FileRole::kDisk:
      return "disk";
    case image::FileRole::kExtent:
      return "extent";
    case image::FileRole::kParent:
      return "parent";
  }
  return "";
}

/// Each sentence in a row of its own, the heading in front of the first.
void AddSentences(Rows& rows, const std::string& heading,
                  const std::vector<std::string>& sentences) {
  for (const std::string& sentence : sentences) rows.push_back({heading, sentence});
}

void AddChain(Rows& rows, const std::vector<image::ChainLink>& chain) {
  for (const image::ChainLink& link : chain) {
    rows.push_back(
        {&link == &chain.front() ? "stands on" : "and that on",
         fmt::format("{} ({}{}{}, {})", link.path, link.format, link.subformat.empty() ? "" : " ",
                     link.subformat, FormatSize(link.virtual_size_bytes))});
  }
}

void AddFiles(Rows& rows, const std::vector<image::DiskFile>& files) {
  constexpr std::size_t kMostShown = 8;  // the JSON form lists all
  std::size_t shown = 0;
  std::size_t extents = 0;
  for (const image::DiskFile& file : files) extents += file.role == image::FileRole::kExtent;
  for (const image::DiskFile& file : files) {
    if (file.role != image::FileRole::kExtent) continue;
    if (shown++ == kMostShown && extents > kMostShown + 1) {
      rows.push_back({"extent", fmt::format("and {} more", extents - kMostShown)});
      return;
    }
    rows.push_back({"extent", fmt::format("{} ({})", FileNameOf(file.path),
                                          FormatSize(file.identity.size_bytes))});
  }
}

Rows DiskRows(const DiskReport& report) {
  const image::DiskImageInfo& info = report.disk.image->Info();
  Rows rows = {{"format", FormatOf(info)},
               {"virtual size", FormatExactSize(info.virtual_size_bytes)},
               {"allocated", FormatExactSize(report.totals.data_bytes)}};
  if (report.totals.zero_bytes > 0) {
    rows.push_back({"written zeroes", FormatExactSize(report.totals.zero_bytes)});
  }
  if (info.stored_size_bytes > 0) {
    rows.push_back({"stored size", FormatExactSize(info.stored_size_bytes)});
  }
  rows.push_back({"ImportInstance", info.wire_format.empty()
                                        ? "transcoded while it is read"
                                        : "taken as stored, as " + info.wire_format});
  if (!info.creator.empty()) rows.push_back({"creator", info.creator});
  for (const auto& [name, value] : info.details) rows.push_back({name, value});
  AddChain(rows, info.chain);
  AddFiles(rows, report.disk.files);
  AddSentences(rows, "remark", report.disk.remarks);
  AddSentences(rows, "defect", info.defects);
  AddSentences(rows, "defect", report.faults);
  return rows;
}

Json ChainToJson(const std::vector<image::ChainLink>& chain) {
  Json json = Json::MakeArray();
  for (const image::ChainLink& link : chain) {
    Json item = Json::MakeObject();
    item.Set("path", link.path)
        .Set("format", link.format)
        .Set("subformat", link.subformat)
        .Set("virtual_size_bytes", link.virtual_size_bytes);
    json.Append(std::move(item));
  }
  return json;
}

Json FilesToJson(const std::vector<image::DiskFile>& files) {
  Json json = Json::MakeArray();
  for (const image::DiskFile& file : files) {
    Json item = Json::MakeObject();
    item.Set("path", file.path)
        .Set("role", RoleName(file.role))
        .Set("size_bytes", file.identity.size_bytes);
    json.Append(std::move(item));
  }
  return json;
}

}  // namespace

Result<DiskReport> ReportDisk(std::string path, image::OpenedDisk disk, std::stop_token stop) {
  DiskReport report = {.path = std::move(path), .disk = std::move(disk)};
  const image::DiskImage& image = *report.disk.image;
  if (auto totals = AddUp(image, stop)) {
    report.totals = *totals;
  } else if (totals.error().code() == ErrorCode::kCancelled) {
    return std::move(totals).error();
  } else {
    report.faults.push_back(FaultOf("its extents cannot be listed", totals.error()));
  }
  if (auto layout = guest::InspectGuest(image)) {
    report.guest = *std::move(layout);
  } else {
    report.faults.push_back(FaultOf("its content cannot be read", layout.error()));
  }
  return report;
}

std::string DescribeDisk(const DiskReport& report) {
  return FormatTable(DiskRows(report)) + DescribeGuest(report.guest);
}

Json DiskToJson(const DiskReport& report) {
  const image::DiskImageInfo& info = report.disk.image->Info();
  Json details = Json::MakeObject();
  for (const auto& [name, value] : info.details) details.Set(name, value);
  std::vector<std::string> defects = info.defects;
  defects.insert(defects.end(), report.faults.begin(), report.faults.end());
  Json json = Json::MakeObject();
  return json.Set("path", report.path)
      .Set("format", info.format)
      .Set("subformat", info.subformat)
      .Set("wire_format", info.wire_format)
      .Set("virtual_size_bytes", info.virtual_size_bytes)
      .Set("stored_size_bytes", info.stored_size_bytes)
      .Set("allocated_size_bytes", report.totals.data_bytes)
      .Set("zero_size_bytes", report.totals.zero_bytes)
      .Set("hole_size_bytes", report.totals.hole_bytes)
      .Set("creator", info.creator)
      .Set("identity", info.identity)
      .Set("chain", ChainToJson(info.chain))
      .Set("files", FilesToJson(report.disk.files))
      .Set("details", std::move(details))
      .Set("remarks", TextsToJson(report.disk.remarks))
      .Set("defects", TextsToJson(defects))
      .Set("sound", report.sound())
      .Set("guest", GuestToJson(report.guest));
}

}  // namespace vmferry::cli
