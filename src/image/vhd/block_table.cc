// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/block_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vhd/damage.h"

namespace vmferry::image::vhd {
namespace {

/// Overlaps are looked for in disks of up to so many blocks in the file (16 MiB of memory): all
/// disks with blocks of 512 KiB, and 1 TiB with blocks of 256 KiB.
constexpr std::size_t kMaxCompared = 4 * 1024 * 1024;

}  // namespace

Result<void> BlockTable::Check(std::uint64_t block, std::uint32_t entry) const {
  const std::uint64_t begin_bytes = std::uint64_t{entry} * kSectorBytes;
  const std::uint64_t end_bytes = begin_bytes + layout_.stored_bytes();  // far below 2^64
  // VHD 1.0, "Block Allocation Table and Data Blocks": an entry is the sector where the block's
  // bitmap begins; its data follows.
  if (end_bytes > layout_.end_bytes) {
    return Damage("vhd.block_table.range",
                  fmt::format("block {} of the VHD is said to lie at byte {} of the file with {} "
                              "bytes, but the file's data ends at byte {}",
                              block, begin_bytes, layout_.stored_bytes(), layout_.end_bytes))
        .With("block", block);
  }
  for (const FileRange& range : layout_.structures) {
    if (begin_bytes >= range.end_bytes || end_bytes <= range.begin_bytes) continue;
    return Damage("vhd.block_table.range",
                  fmt::format("block {} of the VHD is said to lie at byte {} of the file, where a "
                              "structure of the file is",
                              block, begin_bytes))
        .With("block", block);
  }
  return {};
}

Result<BlockTable::Piece> BlockTable::Load(std::uint64_t index) const {
  const std::uint64_t first = index * kEntriesPerPiece;
  const std::uint64_t count = std::min(kEntriesPerPiece, layout_.block_count - first);
  std::vector<std::byte> bytes(count * sizeof(std::uint32_t));
  VMFERRY_RETURN_IF_ERROR(
      source_.ReadAt(layout_.table_offset_bytes + first * sizeof(std::uint32_t), bytes));
  ByteReader reader(bytes);
  Piece piece(count);
  for (std::size_t i = 0; i < piece.size(); ++i) {
    piece[i] = reader.U32Be();
    if (piece[i] != kAbsent) VMFERRY_RETURN_IF_ERROR(Check(first + i, piece[i]));
  }
  return piece;
}

Result<std::uint64_t> BlockTable::Survey() const {
  std::uint64_t present = 0;
  std::vector<std::uint32_t> entries;
  const std::uint64_t pieces = DivCeil(layout_.block_count, kEntriesPerPiece);
  for (std::uint64_t index = 0; index < pieces; ++index) {
    VMFERRY_ASSIGN_OR_RETURN(const Piece piece, Load(index));
    for (const std::uint32_t entry : piece) {
      if (entry == kAbsent) continue;
      ++present;
      if (present <= kMaxCompared) entries.push_back(entry);
    }
  }
  if (present > kMaxCompared) return present;
  if (!std::is_sorted(entries.begin(), entries.end())) std::sort(entries.begin(), entries.end());
  const std::uint64_t stored_sectors = layout_.stored_bytes() / kSectorBytes;
  const auto overlap =
      std::adjacent_find(entries.begin(), entries.end(),
                         [&](std::uint32_t a, std::uint32_t b) { return b - a < stored_sectors; });
  if (overlap == entries.end()) return present;
  return Damage("vhd.block_table.overlap",
                fmt::format("two blocks of the VHD overlap at sector {} of the file", *overlap));
}

}  // namespace vmferry::image::vhd
