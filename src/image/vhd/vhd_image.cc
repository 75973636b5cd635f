// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/vhd_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "codec/zero.h"
#include "image/layer.h"
#include "image/vhd/block_table.h"
#include "image/vhd/damage.h"
#include "image/vhd/dynamic_header.h"
#include "image/vhd/footer.h"
#include "image/vhd/footer_pair.h"
#include "image/vhd/parent_locator.h"
#include "image/vhd/sector_bitmap.h"

namespace vmferry::image::vhd {
namespace {

/// A fixed disk: the guest's bytes as they are, and a footer.
class FixedLayer final : public Layer {
 public:
  FixedLayer(std::unique_ptr<ByteSource> source, std::uint64_t size_bytes)
      : source_(std::move(source)), size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source_->RunAt(offset_bytes));
    return LayerRun{.offset_bytes = offset_bytes,
                    .length_bytes = std::min(run.length_bytes, limit_bytes),
                    .kind = run.hole ? RunKind::kAbsent : RunKind::kData};
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    return source_->ReadAt(run.offset_bytes, out);
  }

 private:
  const std::unique_ptr<ByteSource> source_;
  const std::uint64_t size_bytes_;
};

/// A dynamic or differencing disk.
class BlockLayer final : public Layer {
 public:
  BlockLayer(std::unique_ptr<ByteSource> source, std::uint64_t size_bytes, BlockLayout layout,
             bool has_parent)
      : source_(std::move(source)),
        size_bytes_(size_bytes),
        table_(*source_, std::move(layout)),
        bitmaps_(BitmapSlots(table_.layout())),
        has_parent_(has_parent) {}

  const BlockTable& table() const { return table_; }

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    const std::uint64_t block_bytes = table_.layout().block_bytes;
    const std::uint64_t block = offset_bytes / block_bytes;
    const std::uint64_t within_bytes = offset_bytes % block_bytes;
    VMFERRY_ASSIGN_OR_RETURN(const auto piece, table_.PieceOf(block));
    const std::size_t first = block % BlockTable::kEntriesPerPiece;
    const std::uint32_t entry = (*piece)[first];
    LayerRun run = {.offset_bytes = offset_bytes, .length_bytes = limit_bytes};
    if (entry == BlockTable::kAbsent) {
      const auto present =
          std::find_if(piece->begin() + static_cast<std::ptrdiff_t>(first), piece->end(),
                       [](std::uint32_t other) { return other != BlockTable::kAbsent; });
      const auto blocks = static_cast<std::uint64_t>(present - piece->begin()) - first;
      run.length_bytes = std::min(limit_bytes, blocks * block_bytes - within_bytes);
      return run;
    }
    run.kind = RunKind::kData;
    run.length_bytes = std::min(limit_bytes, block_bytes - within_bytes);
    run.locator = std::uint64_t{entry} * kSectorBytes + table_.layout().bitmap_bytes + within_bytes;
    // In a disk without parent the bitmap says which sectors were written. The others are zero in
    // the file, too, and neither Hyper-V nor QEMU looks.
    if (has_parent_) VMFERRY_RETURN_IF_ERROR(ApplyBitmap(block, entry, within_bytes, run));
    return run;
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    return source_->ReadAt(run.locator, out);
  }

 private:
  /// Bitmaps that are kept: 4 MiB of them, but not more than 1,024.
  static std::size_t BitmapSlots(const BlockLayout& layout) {
    return static_cast<std::size_t>(
        std::clamp<std::uint64_t>(4 * kMiB / layout.bitmap_bytes, 4, 1024));
  }

  /// Cuts `run` to sectors that are all here, or all in the parent.
  Result<void> ApplyBitmap(std::uint64_t block, std::uint32_t entry, std::uint64_t within_bytes,
                           LayerRun& run) const {
    const auto load = [&](std::uint64_t) -> Result<SectorBitmap> {
      SectorBitmap bitmap(table_.layout().bitmap_bytes);
      VMFERRY_RETURN_IF_ERROR(source_->ReadAt(std::uint64_t{entry} * kSectorBytes, bitmap));
      return bitmap;
    };
    VMFERRY_ASSIGN_OR_RETURN(const auto bitmap, bitmaps_.Get(block, load));
    const std::uint64_t sector = within_bytes / kSectorBytes;
    const std::uint64_t end = DivCeil(within_bytes + run.length_bytes, kSectorBytes);
    const SectorRun sectors = RunOfSectors(*bitmap, sector, end);
    run.kind = sectors.here ? RunKind::kData : RunKind::kAbsent;
    run.length_bytes =
        std::min(run.length_bytes, (sector + sectors.count) * kSectorBytes - within_bytes);
    return {};
  }

  const std::unique_ptr<ByteSource> source_;
  const std::uint64_t size_bytes_;
  const BlockTable table_;
  const TableCache<SectorBitmap> bitmaps_;
  const bool has_parent_;
};

std::string CreatedText(const Footer& footer) {
  constexpr std::chrono::seconds kVhdEpoch(946684800);  // 2000-01-01 after 1970-01-01
  return FormatTime(std::chrono::system_clock::time_point(
      kVhdEpoch + std::chrono::seconds(footer.created_seconds)));
}

/// Says by what the size was found, and what that leaves in doubt.
void DescribeSize(const Footer& footer, DiskImageInfo& info) {
  const Geometry& geometry = footer.geometry;
  const std::string chs = fmt::format("{} cylinders, {} heads, {} sectors", geometry.cylinders,
                                      geometry.heads, geometry.sectors_per_track);
  switch (SizeRuleOf(footer)) {
    case SizeRule::kGeometry:
      info.details.emplace_back("size by", fmt::format("geometry ({})", chs));
      if (geometry.bytes() == footer.current_size_bytes) return;
      info.defects.push_back(fmt::format(
          "its size is {} bytes by its geometry, which counts for disks of its creator, but {} "
          "bytes by its footer",
          geometry.bytes(), footer.current_size_bytes));
      return;
    case SizeRule::kCurrentSize:
      info.details.emplace_back("size by", "current size");
      info.details.emplace_back("geometry", chs);
      break;
    case SizeRule::kNoGeometry:
      info.details.emplace_back("size by", "current size");
      info.defects.push_back(
          "its creator's disks have the size of their geometry, but it has none: the current size "
          "was used");
      break;
  }
  if (footer.current_size_bytes % kSectorBytes == 0) return;
  info.defects.push_back(
      fmt::format("its size of {} bytes is not a whole number of sectors: the rest is left out",
                  footer.current_size_bytes));
}

DiskImageInfo Describe(const FoundFooter& found, std::uint64_t stored_bytes) {
  const Footer& footer = found.footer;
  DiskImageInfo info = {.format = "vhd",
                        .subformat = TypeName(footer.type),
                        .identity = IdText(footer.unique_id),
                        .stored_size_bytes = stored_bytes,
                        .creator = CreatorName(footer),
                        .defects = found.defects};
  DescribeSize(footer, info);
  info.details.emplace_back("created", CreatedText(footer));
  info.details.emplace_back("unique id", info.identity);
  if ((footer.features & kFeatureTemporary) != 0) {
    info.defects.push_back("it is marked as temporary: to be deleted when the VM shuts down");
  }
  if (footer.saved_state) {
    info.defects.push_back(
        "it is marked as in a saved state: the VM was not shut down, and what its memory held is "
        "missing");
  }
  return info;
}

/// The EC2 API takes what it calls VHD only with two footers that are alike.
std::string WireFormat(const Footer& footer, const DiskImageInfo& info, bool sound) {
  const bool usable = sound && footer.type != DiskType::kDifferencing &&
                      info.stored_size_bytes % kSectorBytes == 0 &&
                      SizeRuleOf(footer) != SizeRule::kNoGeometry;
  return usable ? "VHD" : "";
}

Result<std::unique_ptr<DiskImage>> OpenFixed(std::unique_ptr<ByteSource> source,
                                             const FoundFooter& found, DiskImageInfo info) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, DiskBytes(found.footer));
  // VHD 1.0, "Fixed Hard Disk Image": the disk's bytes, then the footer.
  if (size_bytes > found.data_end_bytes) {
    return Damage(
        "vhd.footer.truncated",
        fmt::format("the VHD is a fixed disk of {} bytes, but has only {} in front of its "
                    "footer",
                    size_bytes, found.data_end_bytes));
  }
  if (size_bytes > 0) {
    std::array<std::byte, kSectorBytes> first;
    VMFERRY_RETURN_IF_ERROR(source->ReadAt(0, first));
    if (codec::IsZero(first)) info.details.emplace_back("first sector", "all zeros");
  }
  info.wire_format = WireFormat(found.footer, info, true);
  auto layer = std::make_unique<FixedLayer>(std::move(source), size_bytes);
  return MakeLayeredImage(std::move(layer), std::nullopt, std::move(info));
}

/// Reads the dynamic header that `footer` leads to.
Result<DynamicHeader> ReadDynamicHeader(const ByteSource& source, const FoundFooter& found) {
  const std::uint64_t offset_bytes = found.footer.data_offset_bytes;
  // VHD 1.0, "Hard Disk Footer Format", Data Offset: where the dynamic header is.
  if (offset_bytes > found.data_end_bytes ||
      kDynamicHeaderBytes > found.data_end_bytes - offset_bytes) {
    return Damage("vhd.footer.data_offset",
                  fmt::format("the VHD footer places the dynamic header at byte {} of the file, "
                              "whose data ends at byte {}",
                              offset_bytes, found.data_end_bytes));
  }
  std::array<std::byte, kDynamicHeaderBytes> bytes;
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, bytes));
  return ParseDynamicHeader(bytes);
}

/// Where the blocks of a disk of `size_bytes` are.
Result<BlockLayout> PlanLayout(const FoundFooter& found, const DynamicHeader& header,
                               std::uint64_t size_bytes) {
  BlockLayout layout = {.table_offset_bytes = header.table_offset_bytes,
                        .block_count = DivCeil(size_bytes, header.block_bytes),
                        .block_bytes = header.block_bytes,
                        .bitmap_bytes = header.bitmap_bytes(),
                        .end_bytes = found.data_end_bytes,
                        .structures = {}};
  // VHD 1.0, "Dynamic Disk Header Format", Max Table Entries: the number of blocks of the disk.
  if (header.table_entries < layout.block_count) {
    return Damage("vhd.dynamic_header.table_entries",
                  fmt::format("the block table of the VHD has {} entries, its disk {} blocks",
                              header.table_entries, layout.block_count));
  }
  const std::uint64_t table_bytes = layout.block_count * sizeof(std::uint32_t);
  const std::uint64_t header_begin = found.footer.data_offset_bytes;
  const std::uint64_t header_end = header_begin + kDynamicHeaderBytes;
  // VHD 1.0, "Dynamic Disk Header Format", Table Offset: where the block table is.
  const bool inside = header.table_offset_bytes <= found.data_end_bytes &&
                      table_bytes <= found.data_end_bytes - header.table_offset_bytes;
  const bool apart = table_bytes == 0 || header.table_offset_bytes >= header_end ||
                     header.table_offset_bytes + table_bytes <= header_begin;
  if (!inside || !apart) {
    return Damage("vhd.dynamic_header.table_offset",
                  fmt::format("the dynamic VHD header places a block table of {} bytes at byte {} "
                              "of the file, {}",
                              table_bytes, header.table_offset_bytes,
                              inside ? "over itself" : "where it does not fit"));
  }
  layout.structures = {{0, kFooterBytes},
                       {header_begin, header_end},
                       {header.table_offset_bytes, header.table_offset_bytes + table_bytes}};
  return layout;
}

/// The parent of a differencing disk.
Result<ParentDisk> OpenParent(const ByteSource& source, const DynamicHeader& header,
                              Companions& companions, DiskImageInfo& info) {
  VMFERRY_ASSIGN_OR_RETURN(ParentNames found, ReadParentNames(source, header));
  info.defects.insert(info.defects.end(), found.defects.begin(), found.defects.end());
  info.details.emplace_back("parent's unique id", IdText(header.parent_id));
  return companions.OpenParent({.names = std::move(found.names),
                                .style = NameStyle::kWindows,
                                .search_beside = true,
                                .format = std::nullopt,
                                .identity = IdText(header.parent_id)});
}

Result<std::unique_ptr<DiskImage>> OpenBlocks(std::unique_ptr<ByteSource> source,
                                              const FoundFooter& found, DiskImageInfo info,
                                              Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, DiskBytes(found.footer));
  VMFERRY_ASSIGN_OR_RETURN(const DynamicHeader header, ReadDynamicHeader(*source, found));
  VMFERRY_ASSIGN_OR_RETURN(BlockLayout layout, PlanLayout(found, header, size_bytes));
  const bool differs = found.footer.type == DiskType::kDifferencing;
  info.details.emplace_back("block size", FormatSize(header.block_bytes));
  std::optional<ParentDisk> parent;
  const ByteSource& file = *source;
  auto layer =
      std::make_unique<BlockLayer>(std::move(source), size_bytes, std::move(layout), differs);
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t present, layer->table().Survey());
  info.allocated_size_bytes = std::min(size_bytes, present * header.block_bytes);
  info.wire_format = WireFormat(found.footer, info, found.defects.empty());
  if (differs) {
    VMFERRY_ASSIGN_OR_RETURN(parent, OpenParent(file, header, companions, info));
  }
  return MakeLayeredImage(std::move(layer), std::move(parent), std::move(info));
}

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source,
                                        Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const FoundFooter found, FindFooter(*source));
  DiskImageInfo info = Describe(found, source->SizeBytes());
  if (found.footer.type == DiskType::kFixed) {
    return OpenFixed(std::move(source), found, std::move(info));
  }
  return OpenBlocks(std::move(source), found, std::move(info), companions);
}

}  // namespace vmferry::image::vhd
