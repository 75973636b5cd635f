// SPDX-License-Identifier: Apache-2.0
//
// Compares what a target holds with the leaves of the source.
//
// Every block of the volume is accounted for: blocks the target lists are read back and hashed;
// blocks it does not list are zeros, and must be zeros in the source as well.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "image/disk_image.h"
#include "proof/leaf_set.h"

namespace vmferry::proof {

/// The blocks of a target, an EBS snapshot for instance.
class TargetBlocks {
 public:
  virtual ~TargetBlocks() = default;

  /// The next page of the indices of blocks that are written, strictly ascending over all pages;
  /// an empty page ends the list. Called from one thread.
  virtual Result<std::vector<std::uint64_t>> NextPage(const OpContext& context) = 0;

  /// Reads a listed block; `out` is kLeafBlockBytes long.
  ///
  /// Thread: may be called from several threads, also while NextPage is not running.
  virtual Result<void> ReadBlock(std::uint64_t block_index, std::span<std::byte> out,
                                 const OpContext& context) = 0;
};

/// Bytes of the volume that differ. Half-open.
struct DifferingRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;

  bool operator==(const DifferingRange&) const = default;
};

inline constexpr std::size_t kMaxDifferingRanges = 64;

/// How many blocks of the volume were found to be what.
struct CompareCounts {
  std::uint64_t total = 0;      ///< compared + unlisted
  std::uint64_t compared = 0;   ///< listed by the target or not zero in the source
  std::uint64_t unlisted = 0;   ///< not listed by the target and zero in the source: equal
  std::uint64_t identical = 0;  ///< of those compared
  std::uint64_t differing = 0;  ///< of those compared
  std::uint64_t missing = 0;    ///< of those differing: not listed although the source has bytes
  std::uint64_t read = 0;       ///< listed, read back and hashed

  bool operator==(const CompareCounts&) const = default;
};

struct Comparison {
  CompareCounts counts;
  /// Root over what the target holds: the source's root when nothing differs.
  Root target_root{};
  /// Where they differ, ascending: the first kMaxDifferingRanges. To the byte when the source was
  /// at hand, else whole blocks.
  std::vector<DifferingRange> ranges;
  bool ranges_complete = true;  ///< false when there are more than `ranges` tells

  bool identical() const { return counts.differing == 0; }
};

struct CompareOptions {
  /// Reads under way at once. They wait for the network, so more than there are cores.
  unsigned threads = 8;
  /// The source, to find the differing bytes inside differing blocks; may be null.
  const image::DiskImage* source = nullptr;
  /// Told the number of blocks accounted for so far and the number of all; from any thread, one
  /// call at a time. May be empty.
  std::function<void(std::uint64_t done_blocks, std::uint64_t total_blocks)> progress;
};

/// Compares blocks 0 to block_count - 1.
///
/// Cost:   reads every listed block once, the first differing ones twice; memory of one page and
///         of one block for each thread.
/// Errors: kDataLoss proof.listing_order, proof.block_out_of_range when the target's list cannot
///         be right; kCancelled proof.stopped; those of target and source.
Result<Comparison> Compare(const LeafSet& source_leaves, std::uint64_t block_count,
                           TargetBlocks& target, const CompareOptions& options,
                           const OpContext& context);

/// Appends a range, or makes the last one longer where it goes on; false when there are `limit`
/// ranges already and it is left out.
bool AppendDifference(std::vector<DifferingRange>& ranges, const DifferingRange& range,
                      std::size_t limit);

/// The runs in which two spans of equal length differ, moved by `base_offset_bytes`, appended to
/// `ranges` until there are `limit`; a run that continues the last range extends it. False when
/// the limit left some out.
bool AppendDifferences(std::span<const std::byte> a, std::span<const std::byte> b,
                       std::uint64_t base_offset_bytes, std::size_t limit,
                       std::vector<DifferingRange>& ranges);

}  // namespace vmferry::proof
