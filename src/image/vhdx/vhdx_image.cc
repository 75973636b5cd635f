// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/vhdx_image.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "image/layer.h"
#include "image/vhdx/bat.h"
#include "image/vhdx/header.h"
#include "image/vhdx/log.h"
#include "image/vhdx/metadata.h"
#include "image/vhdx/overlay_source.h"
#include "image/vhdx/region_table.h"
#include "image/vhdx/vhdx_layer.h"

namespace vmferry::image::vhdx {
namespace {

std::string_view SubformatOf(const Metadata& metadata) {
  if (metadata.has_parent) return "differencing";
  return metadata.leave_blocks_allocated ? "fixed" : "dynamic";
}

void Describe(const Metadata& metadata, const Regions& regions, DiskImageInfo& info) {
  const auto detail = [&](std::string_view name, std::string text) {
    info.details.emplace_back(name, std::move(text));
  };
  detail("block size", FormatSize(metadata.block_bytes));
  detail("logical sector size", fmt::format("{}", metadata.logical_sector_bytes));
  if (metadata.physical_sector_bytes != 0) {
    detail("physical sector size", fmt::format("{}", metadata.physical_sector_bytes));
  }
  if (metadata.page_83) detail("disk identifier (page 83)", GuidText(*metadata.page_83));
  for (const std::string& guid : regions.unknown) detail("unknown region", guid);
  for (const std::string& guid : metadata.unknown) detail("unknown metadata item", guid);
}

void FindDefects(const HeaderSection& head, const Regions& regions, const Replay& replay,
                 DiskImageInfo& info) {
  if (head.damaged_copy != 0) {
    info.defects.push_back(fmt::format("the {} of its two headers is damaged; the other is whole",
                                       head.damaged_copy == 1 ? "first" : "second"));
  }
  info.defects.insert(info.defects.end(), regions.defects.begin(), regions.defects.end());
  if (replay.entry_count > 0) {
    info.defects.push_back(fmt::format(
        "it was not closed properly: the log was replayed in memory ({} entries), the file is "
        "unchanged",
        replay.entry_count));
  }
  if (replay.never_written) {
    info.defects.push_back("it was not closed properly; nothing was in its log yet");
  }
}

Result<std::optional<ParentDisk>> OpenParent(const Metadata& metadata, Companions& companions) {
  if (!metadata.parent) return std::optional<ParentDisk>();
  ParentRequest request;
  request.names = metadata.parent->names;
  request.style = NameStyle::kWindows;
  request.search_beside = true;
  request.format = Format::kVhdx;
  request.identity = metadata.parent->identities.front();
  request.other_identities.assign(metadata.parent->identities.begin() + 1,
                                  metadata.parent->identities.end());
  VMFERRY_ASSIGN_OR_RETURN(ParentDisk parent, companions.OpenParent(request));
  return std::optional<ParentDisk>(std::move(parent));
}

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source,
                                        Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const HeaderSection head, ReadHeaderSection(*source));
  DiskImageInfo info;
  info.format = "vhdx";
  info.identity = GuidText(head.header.data_write_guid);
  info.stored_size_bytes = source->SizeBytes();
  info.creator = head.creator;

  VMFERRY_ASSIGN_OR_RETURN(Replay replay, ReplayLog(*source, head.header));
  if (replay.entry_count > 0) {
    source = MakeOverlaySource(std::move(source), std::move(replay.writes), replay.file_bytes);
  }
  VMFERRY_ASSIGN_OR_RETURN(const Regions regions, ReadRegions(*source, head.header));
  VMFERRY_ASSIGN_OR_RETURN(const Metadata metadata, ReadMetadata(*source, regions.metadata));
  info.subformat = SubformatOf(metadata);
  Describe(metadata, regions, info);
  FindDefects(head, regions, replay, info);

  VMFERRY_ASSIGN_OR_RETURN(auto bat, Bat::Make(*source, regions.bat, BatGeometry(metadata)));
  VMFERRY_ASSIGN_OR_RETURN(const BatSurvey survey, bat->Survey(regions.all));
  info.allocated_size_bytes = survey.allocated_bytes;
  if (survey.reserved_count > 0) {
    info.defects.push_back(
        fmt::format("{} entries of its BAT have reserved bits set", survey.reserved_count));
  }
  VMFERRY_ASSIGN_OR_RETURN(auto parent, OpenParent(metadata, companions));
  return MakeLayeredImage(std::make_unique<VhdxLayer>(std::move(source), std::move(bat)),
                          std::move(parent), std::move(info));
}

}  // namespace vmferry::image::vhdx
