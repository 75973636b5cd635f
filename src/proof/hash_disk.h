// SPDX-License-Identifier: Apache-2.0
//
// Hashes the guest bytes of a disk image into leaves. Holes and zeros cost nothing.

#pragma once

#include <cstdint>
#include <functional>

#include "base/deadline.h"
#include "base/result.h"
#include "image/disk_image.h"
#include "proof/leaf_set.h"

namespace vmferry::proof {

/// Blocks of a volume by index. Half-open.
struct BlockRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// Blocks by what they are made of; a block with any data counts as data, one with no data but
/// some written zeros as zero.
struct BlockCounts {
  std::uint64_t data = 0;
  std::uint64_t zero = 0;
  std::uint64_t hole = 0;

  std::uint64_t total() const { return data + zero + hole; }
  bool operator==(const BlockCounts&) const = default;
};

/// Is told of every block that is not a hole, ascending: its index, leaf and kind.
using LeafSink = std::function<Result<void>(std::uint64_t block_index, const Leaf& leaf,
                                            image::ExtentKind kind)>;

/// Hashes the blocks of `range` and returns what they were. Blocks, and the part of a block,
/// beyond the end of the disk are holes.
///
/// Cost:   reads only blocks with data; memory of one block and the extents of 64 MiB.
/// Thread: may run on disjoint ranges of one image at once.
/// Errors: those of the image and the sink; kCancelled proof.stopped.
Result<BlockCounts> HashLeaves(const image::DiskImage& disk, BlockRange range, const LeafSink& sink,
                               const OpContext& context);

struct HashOptions {
  /// Hashing is CPU-bound: as many as there are cores.
  unsigned threads = 2;
  /// Told the number of blocks accounted for so far and the number of all; from any thread, one
  /// call at a time. May be empty.
  std::function<void(std::uint64_t done_blocks, std::uint64_t total_blocks)> progress;
};

/// Is told of all blocks of a volume, in any order, one call at a time.
class BlockSink {
 public:
  virtual ~BlockSink() = default;
  /// A block with data, whose leaf may be the zero leaf all the same.
  virtual void OnLeaf(std::uint64_t block_index, const Leaf& leaf) = 0;
  /// Blocks of zeros and holes.
  virtual void OnZeros(BlockRange blocks) = 0;
};

/// Hashes a disk as it must appear on a volume of `volume_bytes`.
///
/// Cost:   reads only blocks with data, once; memory of one block a thread; time follows the
///         number of extents.
/// Errors: kInvalidArgument proof.bad_volume_size when the volume is smaller than the disk or not
///         a whole number of blocks; those of the image; kCancelled proof.stopped.
Result<BlockCounts> HashBlocks(const image::DiskImage& disk, std::uint64_t volume_bytes,
                               BlockSink& sink, const HashOptions& options,
                               const OpContext& context);

struct DiskHash {
  LeafSet leaves;
  BlockCounts counts;
  std::uint64_t block_count = 0;
  Root root{};

  bool operator==(const DiskHash&) const = default;
};

/// Hashes a disk as it must appear on a volume of `volume_bytes`.
/// Memory: 64 MiB for a TiB of data. Errors: as HashBlocks.
Result<DiskHash> HashDisk(const image::DiskImage& disk, std::uint64_t volume_bytes,
                          const HashOptions& options, const OpContext& context);

}  // namespace vmferry::proof
