// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/bat.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <span>

#include "image/vhdx/damage.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::size_t kCachedPages = 32;  // 2 MiB: 256 Ki blocks
/// No block lies behind it: the largest disk twice over. What the survey holds is bounded by it.
constexpr std::uint64_t kMaxPlaceBytes = 2 * kMaxDiskBytes;
/// [MS-VHDX] 2.5: a bitmap block has 1 MiB, so a chunk has 2^23 sectors.
constexpr unsigned kChunkSectorBits = 23;
constexpr std::uint64_t kBitmapBytes = kMiB;

/// Which MiB of the file are taken.
class TakenPlaces {
 public:
  /// False when some of it was taken before. Pre: ends at or before kMaxPlaceBytes.
  bool Take(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    const std::uint64_t end = (offset_bytes + length_bytes) / kMiB;
    if (words_.size() * 64 < end) words_.resize(std::max(end / 64 + 1, words_.size() * 2));
    bool free = true;
    for (std::uint64_t at = offset_bytes / kMiB; at < end;) {
      const std::uint64_t first = at % 64;
      const std::uint64_t count = std::min(64 - first, end - at);
      const std::uint64_t mask = (~std::uint64_t{0} >> (64 - count)) << first;
      free = free && (words_[at / 64] & mask) == 0;
      words_[at / 64] |= mask;
      at += count;
    }
    return free;
  }

 private:
  std::vector<std::uint64_t> words_;
};

/// The walk over all entries.
class Surveyor {
 public:
  Surveyor(const Bat& bat, const BatGeometry& geometry) : bat_(bat), geometry_(geometry) {}

  Result<void> TakeRegions(const std::vector<Region>& regions) {
    VMFERRY_RETURN_IF_ERROR(Take(0, kHeaderSectionBytes));
    for (const Region& region : regions) {
      // What lies behind all possible blocks is in nobody's way.
      if (region.offset_bytes >= kMaxPlaceBytes) continue;
      const std::uint64_t length_bytes =
          std::min(region.length_bytes, kMaxPlaceBytes - region.offset_bytes);
      VMFERRY_RETURN_IF_ERROR(Take(region.offset_bytes, length_bytes));
    }
    return {};
  }

  Result<void> LookAt(BatEntry entry, std::uint64_t entry_index) {
    if (entry.has_reserved_bits()) ++survey_.reserved_count;
    const std::uint64_t chunk = entry_index / ((std::uint64_t{1} << geometry_.ratio_bits) + 1);
    if (partial_chunk_ && *partial_chunk_ != chunk) return MissingBitmap();
    if (entry_index == geometry_.BitmapEntryOf(chunk)) return LookAtBitmap(entry, chunk);
    return LookAtBlock(entry, entry_index - chunk);
  }

  Result<BatSurvey> Finish() const {
    if (partial_chunk_) return MissingBitmap();
    return survey_;
  }

 private:
  /// [MS-VHDX] 2.5.1.1: the bitmap of a partially present block must be present.
  Error MissingBitmap() const {
    return Damage("vhdx.bitmap.missing",
                  fmt::format("chunk {} of the VHDX has blocks that are partially present, but no "
                              "sector bitmap",
                              *partial_chunk_));
  }

  Result<void> Take(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    if (taken_.Take(offset_bytes, length_bytes)) return {};
    return Damage("vhdx.block.overlap",
                  fmt::format("the VHDX's BAT places a block of {} bytes at byte {}, where "
                              "something else is",
                              length_bytes, offset_bytes))
        .With("offset_bytes", offset_bytes);
  }

  Result<void> LookAtBlock(BatEntry entry, std::uint64_t block) {
    // What lies behind the last block is no part of the disk.
    if (block >= geometry_.block_count) return {};
    VMFERRY_RETURN_IF_ERROR(bat_.CheckBlock(entry, block));
    const bool full = entry.state() == BlockState::kFullyPresent;
    if (!full && entry.state() != BlockState::kPartiallyPresent) return {};
    const std::uint64_t start_bytes = block << geometry_.block_bits;
    const std::uint64_t block_bytes = std::uint64_t{1} << geometry_.block_bits;
    survey_.allocated_bytes += std::min(block_bytes, geometry_.size_bytes - start_bytes);
    if (!full) partial_chunk_ = block >> geometry_.ratio_bits;
    return Take(entry.place_bytes(), block_bytes);
  }

  Result<void> LookAtBitmap(BatEntry entry, std::uint64_t chunk) {
    // [MS-VHDX] 2.5.1.2: only differencing disks have them.
    if (!geometry_.differencing) return {};
    VMFERRY_RETURN_IF_ERROR(bat_.CheckBitmap(entry, chunk));
    if (entry.state() != BlockState::kFullyPresent) return {};
    partial_chunk_.reset();
    return Take(entry.place_bytes(), kBitmapBytes);
  }

  const Bat& bat_;
  const BatGeometry& geometry_;
  TakenPlaces taken_;
  BatSurvey survey_;
  /// The chunk of a partially present block whose bitmap was not seen yet.
  std::optional<std::uint64_t> partial_chunk_;
};

}  // namespace

BatGeometry::BatGeometry(const Metadata& metadata)
    : size_bytes(metadata.size_bytes),
      sector_bytes(metadata.logical_sector_bytes),
      block_bits(static_cast<unsigned>(std::countr_zero(metadata.block_bytes))),
      ratio_bits(kChunkSectorBits +
                 static_cast<unsigned>(std::countr_zero(metadata.logical_sector_bytes)) -
                 block_bits),
      block_count(DivCeil(metadata.size_bytes, metadata.block_bytes)),
      differencing(metadata.has_parent) {
  const std::uint64_t ratio = std::uint64_t{1} << ratio_bits;
  // [MS-VHDX] 2.5: the table of a differencing disk ends with a bitmap's entry, any other with a
  // payload block's.
  if (block_count == 0) {
    entry_count = 0;
  } else if (differencing) {
    entry_count = DivCeil(block_count, ratio) * (ratio + 1);
  } else {
    entry_count = EntryOf(block_count - 1) + 1;
  }
}

std::uint64_t BatGeometry::BlockFrom(std::uint64_t entry) const {
  const std::uint64_t ratio = std::uint64_t{1} << ratio_bits;
  return (entry / (ratio + 1) << ratio_bits) + std::min(entry % (ratio + 1), ratio);
}

Bat::Bat(const ByteSource& source, const Region& region, const BatGeometry& geometry)
    : source_(source), region_(region), geometry_(geometry), pages_(kCachedPages) {}

Result<std::unique_ptr<Bat>> Bat::Make(const ByteSource& source, const Region& region,
                                       const BatGeometry& geometry) {
  if (geometry.entry_count > region.length_bytes / sizeof(std::uint64_t)) {
    return Damage("vhdx.bat.too_short",
                  fmt::format("the VHDX's BAT has {} bytes, but {} entries of 8 bytes are needed",
                              region.length_bytes, geometry.entry_count));
  }
  return std::unique_ptr<Bat>(new Bat(source, region, geometry));
}

Result<BatPage> Bat::ReadPage(std::uint64_t page_index) const {
  const std::uint64_t first = page_index * kBatPageEntries;
  const std::uint64_t count = std::min(kBatPageEntries, geometry_.entry_count - first);
  const std::uint64_t offset_bytes = region_.offset_bytes + first * sizeof(std::uint64_t);
  VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source_.RunAt(offset_bytes));
  if (run.hole && run.length_bytes >= count * sizeof(std::uint64_t)) return BatPage();
  BatPage page(count);
  VMFERRY_RETURN_IF_ERROR(source_.ReadAt(offset_bytes, std::as_writable_bytes(std::span(page))));
  if constexpr (std::endian::native == std::endian::big) {
    for (std::uint64_t& word : page) word = __builtin_bswap64(word);
  }
  return page;
}

Result<std::shared_ptr<const BatPage>> Bat::PageOf(std::uint64_t entry_index) const {
  return pages_.Get(entry_index / kBatPageEntries,
                    [&](std::uint64_t index) { return ReadPage(index); });
}

Result<void> Bat::CheckPlace(std::uint64_t place_bytes, std::uint64_t length_bytes) const {
  // [MS-VHDX] 2.5.1.1: a place that is not 0, which is where the headers are.
  if (place_bytes < kHeaderSectionBytes || place_bytes >= kMaxPlaceBytes) {
    return Damage("vhdx.block.place",
                  fmt::format("the VHDX's BAT places a block at byte {}, where none can be",
                              place_bytes))
        .With("offset_bytes", place_bytes);
  }
  const std::uint64_t file_bytes = source_.SizeBytes();
  if (place_bytes <= file_bytes && length_bytes <= file_bytes - place_bytes) return {};
  return Damage("vhdx.block.truncated",
                fmt::format("the VHDX's BAT places {} bytes of a block at byte {} of a file of {}",
                            length_bytes, place_bytes, file_bytes))
      .With("offset_bytes", place_bytes);
}

Result<void> Bat::CheckBlock(BatEntry entry, std::uint64_t block) const {
  switch (entry.state()) {
    case BlockState::kNotPresent:
    case BlockState::kUndefined:
    case BlockState::kZero:
    case BlockState::kUnmapped:
    case BlockState::kUnmappedAnchored:
      return {};  // a place that is kept for later does not count
    case BlockState::kPartiallyPresent:
      // [MS-VHDX] 2.5.1.1: only in differencing disks.
      if (!geometry_.differencing) break;
      [[fallthrough]];
    case BlockState::kFullyPresent: {
      const std::uint64_t start_bytes = block << geometry_.block_bits;
      // Of the last block the file must hold what belongs to the disk; not all writers fill it up.
      return CheckPlace(entry.place_bytes(), std::min(std::uint64_t{1} << geometry_.block_bits,
                                                      geometry_.size_bytes - start_bytes));
    }
    case BlockState::kInvalid:
      break;
  }
  return Damage("vhdx.block.state",
                fmt::format("block {} of the VHDX has state {}, which cannot be", block,
                            static_cast<unsigned>(entry.state())))
      .With("block", block);
}

Result<void> Bat::CheckBitmap(BatEntry entry, std::uint64_t chunk) const {
  switch (entry.state()) {
    case BlockState::kNotPresent:
      return {};
    case BlockState::kFullyPresent:
      return CheckPlace(entry.place_bytes(), kBitmapBytes);
    case BlockState::kUndefined:
    case BlockState::kZero:
    case BlockState::kUnmapped:
    case BlockState::kInvalid:
    case BlockState::kUnmappedAnchored:
    case BlockState::kPartiallyPresent:
      break;
  }
  return Damage("vhdx.bitmap.state",
                fmt::format("the sector bitmap of chunk {} of the VHDX has state {}, which cannot "
                            "be",
                            chunk, static_cast<unsigned>(entry.state())));
}

Result<BatSurvey> Bat::Survey(const std::vector<Region>& regions) const {
  Surveyor surveyor(*this, geometry_);
  VMFERRY_RETURN_IF_ERROR(surveyor.TakeRegions(regions));
  for (std::uint64_t first = 0; first < geometry_.entry_count; first += kBatPageEntries) {
    VMFERRY_ASSIGN_OR_RETURN(const BatPage page, ReadPage(first / kBatPageEntries));
    std::uint64_t quiet = 0;  // entries of which one was looked at for all
    for (std::uint64_t i = 0; i < page.size(); ++i) {
      if (page[i] == quiet) continue;
      VMFERRY_RETURN_IF_ERROR(surveyor.LookAt({page[i]}, first + i));
      const bool zero = page[i] == static_cast<std::uint64_t>(BlockState::kZero);
      if (zero && !geometry_.differencing) quiet = page[i];
    }
  }
  return surveyor.Finish();
}

}  // namespace vmferry::image::vhdx
