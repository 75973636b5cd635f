// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "base/byte_reader.h"
#include "image/vhdx/damage.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::string_view kSignature = "metadata";
constexpr std::uint64_t kTableBytes = 64 * kKiB;
constexpr std::uint16_t kMaxEntries = 2047;        // [MS-VHDX] 2.6.1.1
constexpr std::uint64_t kMaxItemBytes = 1 * kMiB;  // [MS-VHDX] 2.6.1.2
constexpr std::uint32_t kUserFlag = 1;
constexpr std::uint32_t kRequiredFlag = 4;
constexpr std::uint32_t kLeaveAllocatedFlag = 1;
constexpr std::uint32_t kHasParentFlag = 2;

enum ItemKind { kFileParameters, kDiskSize, kPage83, kLogicalSector, kPhysicalSector, kParent };

struct KnownItem {
  Guid guid;
  std::string_view name;
  std::uint32_t length_bytes;  ///< 0: any
};

constexpr std::array<KnownItem, 6> kKnownItems = {{
    {MakeGuid("caa16737-fa36-4d43-b3b6-33f0aa44e76b"), "file parameters", 8},
    {MakeGuid("2fa54224-cd1b-4876-b211-5dbed83bf4b8"), "virtual disk size", 8},
    {MakeGuid("beca12ab-b2e6-4523-93ef-c309e000c746"), "page 83 data", 16},
    {MakeGuid("8141bf1d-a96f-4709-ba47-f233a8faab5f"), "logical sector size", 4},
    {MakeGuid("cda348c7-445d-4471-9cc9-e9885251c556"), "physical sector size", 4},
    {MakeGuid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"), "parent locator", 0},
}};

struct Item {
  Guid guid;
  std::uint32_t offset_bytes = 0;  ///< in the region
  std::uint32_t length_bytes = 0;
  std::uint32_t flags = 0;
};

struct Items {
  std::array<std::optional<Item>, kKnownItems.size()> known;
  std::vector<std::string> unknown;
};

Result<std::vector<Item>> ReadTable(const ByteSource& source, const Region& region) {
  std::vector<std::byte> bytes(kTableBytes);
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(region.offset_bytes, bytes));
  ByteReader reader(bytes);
  if (AsText(reader.Take(kSignature.size())) != kSignature) {
    return Damage("vhdx.metadata.signature", "the VHDX metadata table does not begin as one does");
  }
  reader.Skip(2);
  const std::uint16_t count = reader.U16Le();
  reader.Skip(20);
  if (count > kMaxEntries) {
    return Damage(
        "vhdx.metadata.count",
        fmt::format("the VHDX metadata table has {} entries; {} is the most", count, kMaxEntries));
  }
  std::vector<Item> items(count);
  for (Item& item : items) {
    item.guid = ReadGuid(reader);
    item.offset_bytes = reader.U32Le();
    item.length_bytes = reader.U32Le();
    item.flags = reader.U32Le();
    reader.Skip(4);
  }
  return items;
}

Result<void> CheckPlaces(std::vector<Item> items, const Region& region) {
  for (const Item& item : items) {
    // [MS-VHDX] 2.6.1.2: at least 64 KiB into the region, at most 1 MiB long; nothing lies at 0.
    const bool empty = item.length_bytes == 0 && item.offset_bytes == 0;
    const bool inside = item.offset_bytes >= kTableBytes && item.length_bytes <= kMaxItemBytes &&
                        std::uint64_t{item.offset_bytes} + item.length_bytes <= region.length_bytes;
    if (empty || inside) continue;
    return Damage("vhdx.metadata.place",
                  fmt::format("the VHDX metadata item {} of {} bytes is placed at byte {} of a "
                              "region of {}",
                              GuidText(item.guid), item.length_bytes, item.offset_bytes,
                              region.length_bytes));
  }
  std::sort(items.begin(), items.end(),
            [](const Item& a, const Item& b) { return a.offset_bytes < b.offset_bytes; });
  for (std::size_t i = 1; i < items.size(); ++i) {
    if (items[i].offset_bytes - items[i - 1].offset_bytes >= items[i - 1].length_bytes) continue;
    return Damage("vhdx.metadata.overlap",
                  fmt::format("two VHDX metadata items overlap at byte {} of their region",
                              items[i].offset_bytes));
  }
  return {};
}

Result<Items> SortItems(const std::vector<Item>& list) {
  Items items;
  for (const Item& item : list) {
    const bool user = (item.flags & kUserFlag) != 0;
    const auto known =
        std::find_if(kKnownItems.begin(), kKnownItems.end(),
                     [&](const KnownItem& candidate) { return candidate.guid == item.guid; });
    if (user || known == kKnownItems.end()) {
      // [MS-VHDX] 2.6.1.2: a required item that is not known means that the file is not opened.
      if ((item.flags & kRequiredFlag) != 0) {
        return Unsupported("vhdx.metadata.unknown",
                           fmt::format("the VHDX has a metadata item {} that is required, but not "
                                       "known",
                                       GuidText(item.guid)));
      }
      if (!user) items.unknown.push_back(GuidText(item.guid));
      continue;
    }
    auto& place = items.known[static_cast<std::size_t>(known - kKnownItems.begin())];
    // [MS-VHDX] 2.6.1.2: item ids are unique.
    if (place) {
      return Damage("vhdx.metadata.twice",
                    fmt::format("the VHDX metadata table has two entries for the {}", known->name));
    }
    if (known->length_bytes != 0 && item.length_bytes != known->length_bytes) {
      return Damage("vhdx.metadata.length",
                    fmt::format("the {} of the VHDX has {} bytes instead of {}", known->name,
                                item.length_bytes, known->length_bytes));
    }
    place = item;
  }
  return items;
}

/// Reads the items that are known.
class ItemReader {
 public:
  ItemReader(const ByteSource& source, const Region& region, const Items& items)
      : source_(source), region_(region), items_(items) {}

  bool Has(ItemKind kind) const { return items_.known[kind].has_value(); }

  Result<std::vector<std::byte>> Read(ItemKind kind) const {
    const std::optional<Item>& item = items_.known[kind];
    if (!item) {
      return Damage("vhdx.metadata.missing",
                    fmt::format("the VHDX metadata have no {}", kKnownItems[kind].name));
    }
    std::vector<std::byte> bytes(item->length_bytes);
    VMFERRY_RETURN_IF_ERROR(source_.ReadAt(region_.offset_bytes + item->offset_bytes, bytes));
    return bytes;
  }

  Result<std::uint32_t> SectorBytes(ItemKind kind) const {
    VMFERRY_ASSIGN_OR_RETURN(const auto bytes, Read(kind));
    const std::uint32_t value = ByteReader(bytes).U32Le();
    // [MS-VHDX] 2.6.2.4 and 2.6.2.5: 512 or 4096.
    if (value == 512 || value == 4096) return value;
    return Damage("vhdx.metadata.sector_size",
                  fmt::format("the {} of the VHDX is {} bytes; 512 and 4096 are possible",
                              kKnownItems[kind].name, value));
  }

 private:
  const ByteSource& source_;
  const Region& region_;
  const Items& items_;
};

Result<void> ReadParameters(const ItemReader& reader, Metadata& metadata) {
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, reader.Read(kFileParameters));
  ByteReader fields(bytes);
  metadata.block_bytes = fields.U32Le();
  const std::uint32_t flags = fields.U32Le();
  // [MS-VHDX] 2.6.2.1: a power of two from 1 MiB to 256 MiB.
  if (!std::has_single_bit(metadata.block_bytes) || metadata.block_bytes < kMiB ||
      metadata.block_bytes > 256 * kMiB) {
    return Damage("vhdx.metadata.block_size",
                  fmt::format("the blocks of the VHDX have {} bytes; powers of two from 1 MiB to "
                              "256 MiB are possible",
                              metadata.block_bytes));
  }
  if ((flags & ~(kLeaveAllocatedFlag | kHasParentFlag)) != 0) {
    return Unsupported(
        "vhdx.metadata.flags",
        fmt::format("the file parameters of the VHDX have flags {:#x}, some of which "
                    "are not known",
                    flags));
  }
  metadata.leave_blocks_allocated = (flags & kLeaveAllocatedFlag) != 0;
  metadata.has_parent = (flags & kHasParentFlag) != 0;
  return {};
}

Result<void> ReadSize(const ItemReader& reader, Metadata& metadata) {
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, reader.Read(kDiskSize));
  metadata.size_bytes = ByteReader(bytes).U64Le();
  // [MS-VHDX] 2.6.2.2: a multiple of the logical sector size, at most 64 TiB.
  if (metadata.size_bytes <= kMaxDiskBytes &&
      metadata.size_bytes % metadata.logical_sector_bytes == 0) {
    return {};
  }
  return Damage("vhdx.metadata.disk_size",
                fmt::format("the VHDX says that its disk has {} bytes; 64 TiB is the most, in "
                            "whole sectors of {}",
                            metadata.size_bytes, metadata.logical_sector_bytes));
}

}  // namespace

Result<Metadata> ReadMetadata(const ByteSource& source, const Region& region) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Item> list, ReadTable(source, region));
  VMFERRY_RETURN_IF_ERROR(CheckPlaces(list, region));
  VMFERRY_ASSIGN_OR_RETURN(const Items items, SortItems(list));
  const ItemReader reader(source, region, items);
  Metadata metadata;
  metadata.unknown = items.unknown;
  VMFERRY_RETURN_IF_ERROR(ReadParameters(reader, metadata));
  VMFERRY_ASSIGN_OR_RETURN(metadata.logical_sector_bytes, reader.SectorBytes(kLogicalSector));
  VMFERRY_RETURN_IF_ERROR(ReadSize(reader, metadata));
  // Required by the specification, but nothing depends on them.
  if (reader.Has(kPhysicalSector)) {
    VMFERRY_ASSIGN_OR_RETURN(metadata.physical_sector_bytes, reader.SectorBytes(kPhysicalSector));
  }
  if (reader.Has(kPage83)) {
    VMFERRY_ASSIGN_OR_RETURN(const auto bytes, reader.Read(kPage83));
    ByteReader fields(bytes);
    metadata.page_83 = ReadGuid(fields);
  }
  if (metadata.has_parent) {
    VMFERRY_ASSIGN_OR_RETURN(const auto bytes, reader.Read(kParent));
    VMFERRY_ASSIGN_OR_RETURN(metadata.parent, ParseParentLocator(bytes));
  }
  return metadata;
}

}  // namespace vmferry::image::vhdx
