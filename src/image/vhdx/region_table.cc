// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/region_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/byte_reader.h"
#include "image/vhdx/damage.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::string_view kSignature = "regi";
constexpr std::size_t kTableBytes = 64 * kKiB;
constexpr std::array<std::uint64_t, 2> kTableOffsets = {192 * kKiB, 256 * kKiB};
constexpr std::uint32_t kMaxEntries = 2047;  // [MS-VHDX] 2.2.3.1

constexpr Guid kBatGuid = MakeGuid("2dc27766-f623-4200-9d64-115e9bfd4a08");
constexpr Guid kMetadataGuid = MakeGuid("8b7ca206-4790-4b9a-b8fe-575f050f886e");

struct Entry {
  Guid guid;
  Region region;
  bool required = false;
};

using TableBytes = std::vector<std::byte>;

/// The table's bytes without its checksum; nothing when signature or checksum are wrong.
Result<std::optional<TableBytes>> ReadTable(const ByteSource& source, std::uint64_t offset_bytes) {
  TableBytes bytes(kTableBytes);
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, bytes));
  const bool whole = AsText(std::span(bytes).first(4)) == kSignature && ChecksumHolds(bytes);
  return whole ? std::optional(std::move(bytes)) : std::nullopt;
}

Result<std::vector<Entry>> ParseTable(const TableBytes& bytes) {
  ByteReader reader(bytes);
  reader.Skip(8);
  const std::uint32_t count = reader.U32Le();
  reader.Skip(4);
  if (count > kMaxEntries) {
    return Damage(
        "vhdx.region.count",
        fmt::format("the VHDX region table has {} entries; {} is the most", count, kMaxEntries));
  }
  std::vector<Entry> entries(count);
  for (Entry& entry : entries) {
    entry.guid = ReadGuid(reader);
    entry.region.offset_bytes = reader.U64Le();
    entry.region.length_bytes = reader.U32Le();
    entry.required = (reader.U32Le() & 1) != 0;
  }
  return entries;
}

Result<void> CheckPlace(const Entry& entry, std::uint64_t file_bytes) {
  const Region& region = entry.region;
  // [MS-VHDX] 2.2.3.2: FileOffset and Length are multiples of 1 MiB, FileOffset at least 1 MiB.
  const bool aligned = region.offset_bytes % kAlignmentBytes == 0 &&
                       region.length_bytes % kAlignmentBytes == 0 &&
                       region.offset_bytes >= kHeaderSectionBytes && region.length_bytes > 0;
  const bool inside =
      region.offset_bytes <= file_bytes && region.length_bytes <= file_bytes - region.offset_bytes;
  if (aligned && inside) return {};
  return Damage(
      "vhdx.region.place",
      fmt::format("the VHDX region {} of {} bytes is placed at byte {} of a file of {}",
                  GuidText(entry.guid), region.length_bytes, region.offset_bytes, file_bytes));
}

Result<void> CheckOverlap(std::vector<Region>& regions) {
  std::sort(regions.begin(), regions.end(),
            [](const Region& a, const Region& b) { return a.offset_bytes < b.offset_bytes; });
  for (std::size_t i = 1; i < regions.size(); ++i) {
    // [MS-VHDX] 2.1: the parts of the file do not overlap.
    if (regions[i].offset_bytes - regions[i - 1].offset_bytes >= regions[i - 1].length_bytes) {
      continue;
    }
    return Damage("vhdx.region.overlap",
                  fmt::format("two regions of the VHDX, or one and its log, overlap at byte {}",
                              regions[i].offset_bytes))
        .With("offset_bytes", regions[i].offset_bytes);
  }
  return {};
}

/// Puts the entry where it belongs.
Result<void> Sort(const Entry& entry, Regions& regions) {
  const auto take = [&](Region& place) -> Result<void> {
    if (place.length_bytes == 0) {
      place = entry.region;
      return {};
    }
    // [MS-VHDX] 2.2.3.2: the GUIDs of a table are unique.
    return Damage("vhdx.region.twice", fmt::format("the VHDX region table has two entries for {}",
                                                   GuidText(entry.guid)));
  };
  if (entry.guid == kBatGuid) return take(regions.bat);
  if (entry.guid == kMetadataGuid) return take(regions.metadata);
  // [MS-VHDX] 2.2.3.2: a required region that is not known means that the file is not opened.
  if (entry.required) {
    return Unsupported("vhdx.region.unknown",
                       fmt::format("the VHDX has a region {} that is required, but not known",
                                   GuidText(entry.guid)));
  }
  regions.unknown.push_back(GuidText(entry.guid));
  return {};
}

}  // namespace

Result<Regions> ReadRegions(const ByteSource& source, const Header& header) {
  VMFERRY_ASSIGN_OR_RETURN(auto first, ReadTable(source, kTableOffsets[0]));
  VMFERRY_ASSIGN_OR_RETURN(auto second, ReadTable(source, kTableOffsets[1]));
  if (!first && !second) {
    return Damage("vhdx.region.damaged", "both region tables of the VHDX are damaged");
  }
  Regions regions;
  if (!first || !second) {
    regions.defects.push_back(
        fmt::format("the {} of its two region tables is damaged; the other is whole",
                    first ? "second" : "first"));
  } else if (*first != *second) {
    regions.defects.push_back("its two region tables differ; the first one was taken");
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Entry> entries, ParseTable(first ? *first : *second));
  for (const Entry& entry : entries) {
    VMFERRY_RETURN_IF_ERROR(Sort(entry, regions));
    VMFERRY_RETURN_IF_ERROR(CheckPlace(entry, source.SizeBytes()));
    regions.all.push_back(entry.region);
  }
  if (regions.bat.length_bytes == 0 || regions.metadata.length_bytes == 0) {
    return Damage("vhdx.region.missing",
                  fmt::format("the VHDX region table does not name the {}",
                              regions.bat.length_bytes == 0 ? "BAT" : "metadata"));
  }
  if (header.log_length_bytes > 0) {
    regions.all.push_back({header.log_offset_bytes, header.log_length_bytes});
  }
  VMFERRY_RETURN_IF_ERROR(CheckOverlap(regions.all));
  return regions;
}

}  // namespace vmferry::image::vhdx
