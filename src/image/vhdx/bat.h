// SPDX-License-Identifier: Apache-2.0
//
// Bat: the block allocation table. It says of each payload block what it holds and where, and, of a
// differencing disk, where the bitmaps are that say it sector by sector.
//
// The table of a 64 TiB disk has half a GiB: it is read in pages, and holes of the file in it are
// not read at all.
//
// Source: [MS-VHDX] 2.5.
//
// Thread safety: const methods may be called from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/table_cache.h"
#include "image/vhdx/metadata.h"
#include "image/vhdx/region_table.h"

namespace vmferry::image::vhdx {

/// [MS-VHDX] 2.5.1.1. The numbers are those of the file.
enum class BlockState : std::uint8_t {
  kNotPresent = 0,
  kUndefined = 1,
  kZero = 2,
  kUnmapped = 3,
  kInvalid = 4,
  kUnmappedAnchored = 5,  ///< of versions before 1, but still found: as kUnmapped
  kFullyPresent = 6,
  kPartiallyPresent = 7,
};

/// An entry of the table: 3 bits of state, 17 reserved ones, and the place in MiB.
struct BatEntry {
  std::uint64_t bits = 0;

  BlockState state() const { return static_cast<BlockState>(bits & 7); }
  std::uint64_t place_bytes() const { return (bits >> 20) * kMiB; }  // at most 2^64 - 1 MiB
  bool has_reserved_bits() const { return (bits & 0xffff8) != 0; }
};

/// How blocks are numbered: behind each chunk of payload blocks stands the entry of its bitmap.
struct BatGeometry {
  explicit BatGeometry(const Metadata& metadata);

  std::uint64_t EntryOf(std::uint64_t block) const { return block + (block >> ratio_bits); }
  std::uint64_t BitmapEntryOf(std::uint64_t chunk) const {
    return (chunk << ratio_bits) + chunk + (std::uint64_t{1} << ratio_bits);
  }
  /// The first block whose entry is not in front of `entry`.
  std::uint64_t BlockFrom(std::uint64_t entry) const;

  std::uint64_t size_bytes = 0;
  std::uint64_t sector_bytes = 0;
  unsigned block_bits = 0;  ///< log2 of a block's bytes
  unsigned ratio_bits = 0;  ///< log2 of the payload blocks of a chunk
  std::uint64_t block_count = 0;
  std::uint64_t entry_count = 0;
  bool differencing = false;
};

/// Neighbouring entries, in host order; empty when all of them are zero bits.
using BatPage = std::vector<std::uint64_t>;
inline constexpr std::uint64_t kBatPageEntries = 8192;

/// What a look at the whole table found.
struct BatSurvey {
  std::uint64_t allocated_bytes =
      0;                             ///< of the disk, in blocks that are at least partially present
  std::uint64_t reserved_count = 0;  ///< entries with reserved bits set
};

class Bat {
 public:
  /// `source` must live longer.
  /// Errors: kDataLoss vhdx.bat.too_short, when the region cannot hold the table.
  static Result<std::unique_ptr<Bat>> Make(const ByteSource& source, const Region& region,
                                           const BatGeometry& geometry);

  const BatGeometry& geometry() const { return geometry_; }

  /// The page that holds the entry `entry_index`.
  /// Errors: those of the source.
  Result<std::shared_ptr<const BatPage>> PageOf(std::uint64_t entry_index) const;

  /// Looks at every entry: no two blocks, and no block and none of `regions`, may lie in the same
  /// place; all must lie inside the file.
  ///
  /// Cost:   reads what the file stores of the table; a bit for each MiB of the file.
  /// Errors: kDataLoss vhdx.block.state, vhdx.block.place, vhdx.block.truncated,
  ///         vhdx.block.overlap, vhdx.bitmap.state, vhdx.bitmap.missing; those of the source.
  Result<BatSurvey> Survey(const std::vector<Region>& regions) const;

  /// Checks that an entry's state may be, and that what it places lies inside the file.
  /// Errors: kDataLoss vhdx.block.state, vhdx.block.place, vhdx.block.truncated.
  Result<void> CheckBlock(BatEntry entry, std::uint64_t block) const;
  /// Errors: kDataLoss vhdx.bitmap.state, vhdx.block.place, vhdx.block.truncated.
  Result<void> CheckBitmap(BatEntry entry, std::uint64_t chunk) const;

 private:
  Bat(const ByteSource& source, const Region& region, const BatGeometry& geometry);

  Result<BatPage> ReadPage(std::uint64_t page_index) const;
  Result<void> CheckPlace(std::uint64_t place_bytes, std::uint64_t length_bytes) const;

  const ByteSource& source_;
  const Region region_;
  const BatGeometry geometry_;
  const TableCache<BatPage> pages_;
};

}  // namespace vmferry::image::vhdx
