// SPDX-License-Identifier: Apache-2.0
#include "proof/check_disk.h"

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <map>

namespace vmferry::proof {
namespace {

/// Blocks in bits, which exist only around those that are in the set: what a tree says of its size
/// costs nothing.
class BlockSet {
 public:
  void Insert(std::uint64_t block) { groups_[block / kGroup].set(block % kGroup); }

  template <typename Visitor>
  void ForEach(const Visitor& visit) const {
    for (const auto& [number, group] : groups_) {
      for (std::size_t i = 0; i < kGroup; ++i) {
        if (group.test(i)) visit(number * kGroup + i);
      }
    }
  }

 private:
  static constexpr std::size_t kGroup = kLeavesPerBlob;
  std::map<std::uint64_t, std::bitset<kGroup>> groups_;
};

/// Holds each leaf against the one of the tree.
class LeafChecker final : public BlockSink {
 public:
  explicit LeafChecker(const LeafSet& expected) : expected_(expected) {}

  void OnLeaf(std::uint64_t block_index, const Leaf& leaf) override {
    if (leaf != expected_.Get(block_index)) differing_.Insert(block_index);
  }

  void OnZeros(BlockRange blocks) override {
    const std::uint64_t end = blocks.first + blocks.count;
    for (auto block = expected_.NextNonZero(blocks.first); block && *block < end;
         block = expected_.NextNonZero(*block + 1)) {
      differing_.Insert(*block);
    }
  }

  void Report(DiskCheck& check) const {
    differing_.ForEach([&](std::uint64_t block) {
      ++check.differing_blocks;
      if (!check.ranges_complete) return;
      check.ranges_complete = AppendDifference(
          check.ranges, {block * kLeafBlockBytes, kLeafBlockBytes}, kMaxDifferingRanges);
    });
  }

 private:
  const LeafSet& expected_;
  BlockSet differing_;
};

}  // namespace

Result<DiskCheck> CheckDisk(const image::DiskImage& disk, const HashTree& tree,
                            const HashOptions& options, const OpContext& context) {
  const std::uint64_t volume_bytes =
      VolumeBytesOf(std::max(disk.SizeBytes(), tree.virtual_size_bytes));
  DiskCheck check = {.block_count = volume_bytes / kLeafBlockBytes,
                     .disk_bytes = disk.SizeBytes(),
                     .tree_disk_bytes = tree.virtual_size_bytes};
  LeafChecker checker(tree.hash.leaves);
  VMFERRY_ASSIGN_OR_RETURN(check.counts, HashBlocks(disk, volume_bytes, checker, options, context));
  checker.Report(check);
  return check;
}

}  // namespace vmferry::proof
