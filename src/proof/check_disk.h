// SPDX-License-Identifier: Apache-2.0
//
// CheckDisk: is this the disk that a hash tree was made of, and which blocks are not?

#pragma once

#include <cstdint>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "image/disk_image.h"
#include "proof/compare.h"
#include "proof/hash_tree_file.h"

namespace vmferry::proof {

struct DiskCheck {
  BlockCounts counts;  ///< of the disk
  std::uint64_t block_count = 0;
  std::uint64_t differing_blocks = 0;
  /// Where they differ, ascending and in whole blocks: the first kMaxDifferingRanges.
  std::vector<DifferingRange> ranges;
  bool ranges_complete = true;  ///< false when there are more than `ranges` tells
  std::uint64_t disk_bytes = 0;
  std::uint64_t tree_disk_bytes = 0;  ///< virtual size of the disk that was hashed

  /// A disk that has grown or shrunk by zeros has the same bytes: VHD rounds sizes.
  bool same_bytes() const { return differing_blocks == 0; }
  bool same_size() const { return disk_bytes == tree_disk_bytes; }
};

/// Cost:   as HashBlocks; memory of a bit for each block around those that differ.
/// Errors: as HashBlocks.
Result<DiskCheck> CheckDisk(const image::DiskImage& disk, const HashTree& tree,
                            const HashOptions& options, const OpContext& context);

}  // namespace vmferry::proof
