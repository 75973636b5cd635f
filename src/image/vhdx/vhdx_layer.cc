// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/vhdx_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>
#include <utility>

#include "image/vhdx/damage.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::uint64_t kBitmapPageBytes = 16 * kKiB;  // 64 MiB of sectors of 512 bytes
constexpr std::uint64_t kBitmapPageBits = 8 * kBitmapPageBytes;
constexpr std::uint64_t kPagesPerBitmap = kMiB / kBitmapPageBytes;
constexpr std::size_t kCachedBitmapPages = 64;  // 1 MiB

RunKind RunKindOf(BlockState state) {
  switch (state) {
    case BlockState::kNotPresent:
      return RunKind::kAbsent;
    case BlockState::kUndefined:
    case BlockState::kZero:
    case BlockState::kUnmapped:
    case BlockState::kUnmappedAnchored:
      return RunKind::kZero;  // [MS-VHDX] 2.5.1.1: none of them asks the parent
    case BlockState::kFullyPresent:
    case BlockState::kPartiallyPresent:
    case BlockState::kInvalid:
      break;
  }
  return RunKind::kData;
}

bool BitAt(const BitmapPage& page, std::uint64_t bit) {
  return (page[bit / 8] >> (bit % 8) & 1) != 0;
}

/// The first bit from `bit` on that is not `value`, or `end`.
std::uint64_t EndOfBits(const BitmapPage& page, std::uint64_t bit, std::uint64_t end, bool value) {
  const std::uint8_t same = value ? 0xff : 0;
  while (bit < end) {
    if (bit % 8 == 0 && page[bit / 8] == same) {
      bit += 8;
      continue;
    }
    if (BitAt(page, bit) != value) return bit;
    ++bit;
  }
  return end;
}

}  // namespace

class VhdxLayer::Cursor {
 public:
  explicit Cursor(const Bat& bat) : bat_(bat), geometry_(bat.geometry()) {}

  Result<BatEntry> EntryOf(std::uint64_t block) {
    const std::uint64_t entry = geometry_.EntryOf(block);
    if (page_ == nullptr || entry / kBatPageEntries != page_index_) {
      page_index_ = entry / kBatPageEntries;
      VMFERRY_ASSIGN_OR_RETURN(page_, bat_.PageOf(entry));
    }
    return page_->empty() ? BatEntry() : BatEntry{(*page_)[entry % kBatPageEntries]};
  }

  /// The block behind `block`; behind all of its page when that is empty.
  std::uint64_t Next(std::uint64_t block) const {
    if (!page_->empty()) return block + 1;
    return std::max(block + 1, geometry_.BlockFrom((page_index_ + 1) * kBatPageEntries));
  }

 private:
  const Bat& bat_;
  const BatGeometry& geometry_;
  std::uint64_t page_index_ = 0;
  std::shared_ptr<const BatPage> page_;
};

VhdxLayer::VhdxLayer(std::unique_ptr<ByteSource> source, std::unique_ptr<Bat> bat)
    : source_(std::move(source)),
      bat_(std::move(bat)),
      geometry_(bat_->geometry()),
      bitmaps_(kCachedBitmapPages) {}

Result<std::shared_ptr<const BitmapPage>> VhdxLayer::BitmapOf(std::uint64_t chunk,
                                                              std::uint64_t page_in_chunk) const {
  return bitmaps_.Get(
      chunk * kPagesPerBitmap + page_in_chunk, [&](std::uint64_t) -> Result<BitmapPage> {
        const std::uint64_t index = geometry_.BitmapEntryOf(chunk);
        VMFERRY_ASSIGN_OR_RETURN(const auto entries, bat_->PageOf(index));
        const BatEntry entry =
            entries->empty() ? BatEntry() : BatEntry{(*entries)[index % kBatPageEntries]};
        VMFERRY_RETURN_IF_ERROR(bat_->CheckBitmap(entry, chunk));
        if (entry.state() != BlockState::kFullyPresent) {
          return Damage("vhdx.bitmap.missing",
                        fmt::format("chunk {} of the VHDX has no sector bitmap", chunk));
        }
        BitmapPage page(kBitmapPageBytes);
        VMFERRY_RETURN_IF_ERROR(
            source_->ReadAt(entry.place_bytes() + page_in_chunk * kBitmapPageBytes,
                            std::as_writable_bytes(std::span(page))));
        return page;
      });
}

/// The run in a partially present block: of sectors that are here, or of those that are not.
Result<LayerRun> VhdxLayer::PartialRunAt(BatEntry entry, std::uint64_t offset_bytes,
                                         std::uint64_t end_bytes) const {
  const std::uint64_t block_bytes = std::uint64_t{1} << geometry_.block_bits;
  const std::uint64_t within_bytes = offset_bytes % block_bytes;
  const std::uint64_t chunk = offset_bytes >> geometry_.block_bits >> geometry_.ratio_bits;
  const std::uint64_t chunk_bytes = block_bytes << geometry_.ratio_bits;
  const std::uint64_t sector = offset_bytes % chunk_bytes / geometry_.sector_bytes;
  end_bytes = std::min(end_bytes, offset_bytes - within_bytes + block_bytes);

  const std::uint64_t page_index = sector / kBitmapPageBits;
  VMFERRY_ASSIGN_OR_RETURN(const auto page, BitmapOf(chunk, page_index));
  const std::uint64_t bit = sector % kBitmapPageBits;
  const std::uint64_t sector_start_bytes = offset_bytes - offset_bytes % geometry_.sector_bytes;
  const std::uint64_t wanted = DivCeil(end_bytes - sector_start_bytes, geometry_.sector_bytes);
  const bool here = BitAt(*page, bit);
  const std::uint64_t bits_end =
      EndOfBits(*page, bit, std::min(kBitmapPageBits, bit + wanted), here);
  const std::uint64_t run_end_bytes =
      std::min(end_bytes, sector_start_bytes + (bits_end - bit) * geometry_.sector_bytes);
  return LayerRun{.offset_bytes = offset_bytes,
                  .length_bytes = run_end_bytes - offset_bytes,
                  .kind = here ? RunKind::kData : RunKind::kAbsent,
                  .locator = entry.place_bytes() + within_bytes};
}

Result<LayerRun> VhdxLayer::RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const {
  std::uint64_t end_bytes = offset_bytes + limit_bytes;
  const std::uint64_t first_block = offset_bytes >> geometry_.block_bits;
  Cursor cursor(*bat_);
  VMFERRY_ASSIGN_OR_RETURN(const BatEntry first, cursor.EntryOf(first_block));
  VMFERRY_RETURN_IF_ERROR(bat_->CheckBlock(first, first_block));
  if (first.state() == BlockState::kPartiallyPresent) {
    return PartialRunAt(first, offset_bytes, end_bytes);
  }
  const RunKind kind = RunKindOf(first.state());
  const std::uint64_t within_bytes = offset_bytes - (first_block << geometry_.block_bits);
  const std::uint64_t place_bytes = first.place_bytes() + within_bytes;
  bool hole = false;
  if (kind == RunKind::kData) {
    // Blocks are large and come whole: what nobody wrote of them the file system did not store.
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun stored, source_->RunAt(place_bytes));
    end_bytes = std::min(end_bytes, offset_bytes + stored.length_bytes);
    hole = stored.hole;
  }
  std::uint64_t next_place_bytes = first.place_bytes();
  std::uint64_t block = cursor.Next(first_block);
  const std::uint64_t blocks_end =
      ((end_bytes - 1) >> geometry_.block_bits) + 1;  // behind the last one that is asked for
  while (block < blocks_end) {
    VMFERRY_ASSIGN_OR_RETURN(const BatEntry next, cursor.EntryOf(block));
    if (kind == RunKind::kData) {
      next_place_bytes += std::uint64_t{1} << geometry_.block_bits;
      if (next.state() != BlockState::kFullyPresent || next.place_bytes() != next_place_bytes) {
        break;
      }
      if (!bat_->CheckBlock(next, block)) break;  // told when somebody gets there
    } else if (next.state() == BlockState::kInvalid || RunKindOf(next.state()) != kind) {
      break;
    }
    block = cursor.Next(block);
  }
  return LayerRun{.offset_bytes = offset_bytes,
                  .length_bytes = std::min(block << geometry_.block_bits, end_bytes) - offset_bytes,
                  .kind = hole ? RunKind::kZero : kind,
                  .locator = place_bytes};
}

Result<void> VhdxLayer::ReadRun(const LayerRun& run, std::span<std::byte> out) const {
  return source_->ReadAt(run.locator, out);
}

}  // namespace vmferry::image::vhdx
