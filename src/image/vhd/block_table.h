// SPDX-License-Identifier: Apache-2.0
//
// BlockTable: the block allocation table (BAT) of a dynamic or differencing VHD: where each block
// lies in the file.
//
// Read in pieces through a bounded cache; each entry is checked whenever its piece is read.
//
// Thread safety: const methods may run concurrently.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/table_cache.h"

namespace vmferry::image::vhd {

/// A range of bytes of the file. Half-open.
struct FileRange {
  std::uint64_t begin_bytes = 0;
  std::uint64_t end_bytes = 0;
};

/// Where things are in the file.
struct BlockLayout {
  std::uint64_t table_offset_bytes = 0;
  std::uint64_t block_count = 0;  ///< blocks the disk has: entries that are used
  std::uint64_t block_bytes = 0;
  std::uint64_t bitmap_bytes = 0;
  std::uint64_t end_bytes = 0;        ///< blocks end here at the latest
  std::vector<FileRange> structures;  ///< that no block may overlap

  std::uint64_t stored_bytes() const { return bitmap_bytes + block_bytes; }
};

class BlockTable {
 public:
  /// Entry of a block that is not in the file.
  static constexpr std::uint32_t kAbsent = 0xffffffff;
  static constexpr std::uint64_t kEntriesPerPiece = 16 * 1024;
  using Piece = std::vector<std::uint32_t>;  ///< entries: sectors of the file

  /// `source` must live longer. Memory: 4 MiB of pieces at most.
  BlockTable(const ByteSource& source, BlockLayout layout)
      : source_(source), layout_(std::move(layout)), cache_(kPieces) {}

  const BlockLayout& layout() const { return layout_; }

  /// The piece that holds the entry of `block`; that entry is [block % kEntriesPerPiece].
  /// Errors: kDataLoss vhd.block_table.range; those of the source.
  Result<std::shared_ptr<const Piece>> PieceOf(std::uint64_t block) const {
    return cache_.Get(block / kEntriesPerPiece, [&](std::uint64_t index) { return Load(index); });
  }

  /// Reads the whole table once and returns how many blocks are in the file.
  ///
  /// Cost:   4 bytes for each block in the file, for a moment.
  /// Errors: as PieceOf; kDataLoss vhd.block_table.overlap.
  Result<std::uint64_t> Survey() const;

 private:
  static constexpr std::size_t kPieces = 64;

  Result<Piece> Load(std::uint64_t index) const;
  Result<void> Check(std::uint64_t block, std::uint32_t entry) const;

  const ByteSource& source_;
  const BlockLayout layout_;
  const TableCache<Piece> cache_;
};

}  // namespace vmferry::image::vhd
