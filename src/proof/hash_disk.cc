// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/units.h"
#include "image/extent_list.h"
#include "image/extent_walk.h"
#include "io/bounded_queue.h"
#include "io/task_group.h"

namespace vmferry::proof {
namespace {

/// HashLeaves asks for extents in units of 128 blocks: 64 MiB.
constexpr std::uint64_t kWindowBlocks = 128;
/// What one thread hashes at a time: 4 MiB.
constexpr std::uint64_t kJobBlocks = 8;

Error Stopped() {
  return Error(ErrorCode::kCancelled, "proof.stopped", "hashing was asked to stop");
}

/// What a block is made of, from the extents of its window; `next` is moved along.
image::ExtentKind KindOfBlock(const std::vector<image::Extent>& extents, std::size_t& next,
                              std::uint64_t begin_bytes, std::uint64_t end_bytes) {
  image::ExtentKind kind = image::ExtentKind::kHole;
  while (next < extents.size() && extents[next].offset_bytes < end_bytes) {
    const image::Extent& extent = extents[next];
    const std::uint64_t extent_end_bytes = extent.offset_bytes + extent.length_bytes;
    // Data outweighs zeros, zeros outweigh holes: the order of the enumeration.
    if (extent_end_bytes > begin_bytes) kind = std::min(kind, extent.kind);
    if (extent_end_bytes > end_bytes) break;
    ++next;
  }
  return kind;
}

Result<BlockCounts> HashWindow(const image::DiskImage& disk, BlockRange window,
                               const LeafSink& sink, const OpContext& context,
                               std::span<std::byte> buffer) {
  BlockCounts counts;
  const std::uint64_t begin_bytes = std::min(window.first * kLeafBlockBytes, disk.SizeBytes());
  const std::uint64_t end_bytes =
      std::min((window.first + window.count) * kLeafBlockBytes, disk.SizeBytes());
  VMFERRY_ASSIGN_OR_RETURN(const auto extents,
                           image::WholeExtents(disk, begin_bytes, end_bytes - begin_bytes));
  std::size_t next_extent = 0;
  for (std::uint64_t index = window.first; index < window.first + window.count; ++index) {
    if (context.stop.stop_requested()) return Stopped();
    const std::uint64_t block_begin_bytes = index * kLeafBlockBytes;
    const std::uint64_t block_end_bytes = std::min(block_begin_bytes + kLeafBlockBytes, end_bytes);
    const image::ExtentKind kind =
        KindOfBlock(extents, next_extent, block_begin_bytes, block_end_bytes);
    switch (kind) {
      case image::ExtentKind::kHole:
        ++counts.hole;
        continue;
      case image::ExtentKind::kZero:
        ++counts.zero;
        VMFERRY_RETURN_IF_ERROR(sink(index, ZeroLeaf(), kind));
        continue;
      case image::ExtentKind::kData:
        break;
    }
    ++counts.data;
    const auto block = buffer.first(block_end_bytes - block_begin_bytes);
    VMFERRY_RETURN_IF_ERROR(disk.Read(block_begin_bytes, block));
    VMFERRY_RETURN_IF_ERROR(sink(index, HashBlock(block), kind));
  }
  return counts;
}

/// Blocks side by side that are of one kind.
struct BlockRun {
  BlockRange blocks;
  image::ExtentKind kind = image::ExtentKind::kHole;
};

/// The blocks of a volume in runs, from the extents of the disk on it: holes of any length are one
/// run.
class BlockRuns {
 public:
  BlockRuns(const image::DiskImage& disk, std::uint64_t block_count)
      : walk_(disk), disk_bytes_(disk.SizeBytes()), block_count_(block_count) {}

  /// The next run; nothing behind the last block.
  Result<std::optional<BlockRun>> Next() {
    if (next_block_ == block_count_) return std::optional<BlockRun>();
    const std::uint64_t begin_bytes = next_block_ * kLeafBlockBytes;
    VMFERRY_RETURN_IF_ERROR(SkipTo(begin_bytes));
    BlockRun run = {{next_block_, block_count_ - next_block_}, image::ExtentKind::kHole};
    if (extent_) {
      run.blocks.count = WholeBlocks(begin_bytes);
      run.kind = extent_->kind;
      if (run.blocks.count == 0) {
        run.blocks.count = 1;
        VMFERRY_ASSIGN_OR_RETURN(run.kind, MixedKind(begin_bytes + kLeafBlockBytes));
      }
    }
    next_block_ += run.blocks.count;
    return std::optional<BlockRun>(run);
  }

 private:
  /// How many blocks the present extent fills from `begin_bytes` on.
  std::uint64_t WholeBlocks(std::uint64_t begin_bytes) const {
    const std::uint64_t end_bytes = extent_->offset_bytes + extent_->length_bytes;
    const std::uint64_t length_bytes = end_bytes - begin_bytes;
    // The last block of the disk may be short.
    return end_bytes == disk_bytes_ ? DivCeil(length_bytes, kLeafBlockBytes)
                                    : length_bytes / kLeafBlockBytes;
  }

  /// The kind of a block, up to `end_bytes`, that several extents share.
  Result<image::ExtentKind> MixedKind(std::uint64_t end_bytes) {
    image::ExtentKind kind = extent_->kind;
    while (extent_->offset_bytes + extent_->length_bytes < end_bytes) {
      VMFERRY_ASSIGN_OR_RETURN(extent_, walk_.Next());
      if (!extent_) break;
      // Data outweighs zeros, zeros outweigh holes: the order of the enumeration.
      kind = std::min(kind, extent_->kind);
    }
    return kind;
  }

  /// Moves to the extent that holds `offset_bytes`; none behind the end of the disk.
  Result<void> SkipTo(std::uint64_t offset_bytes) {
    while (!ended_ && (!extent_ || extent_->offset_bytes + extent_->length_bytes <= offset_bytes)) {
      VMFERRY_ASSIGN_OR_RETURN(extent_, walk_.Next());
      ended_ = !extent_.has_value();
    }
    return {};
  }

  image::ExtentWalk walk_;
  const std::uint64_t disk_bytes_;
  const std::uint64_t block_count_;
  std::uint64_t next_block_ = 0;
  std::optional<image::Extent> extent_;
  bool ended_ = false;
};

/// One thread finds the blocks with data, the others hash them.
class Driver {
 public:
  Driver(const image::DiskImage& disk, const HashOptions& options, std::uint64_t block_count,
         BlockSink& sink)
      : disk_(disk),
        options_(options),
        block_count_(block_count),
        sink_(sink),
        jobs_(std::size_t{2} * std::max(options.threads, 1U)) {}

  Result<BlockCounts> Run(const OpContext& context) {
    io::TaskGroup group(context.stop);
    for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
      group.Start([this](std::stop_token stop) { return Work(stop); });
    }
    const auto planned = Plan(group.stop_token());
    if (!planned) group.RequestStop();
    jobs_.Close();
    VMFERRY_RETURN_IF_ERROR(group.Wait());
    VMFERRY_RETURN_IF_ERROR(planned);
    if (context.stop.stop_requested()) return Stopped();
    MutexLock lock(mutex_);
    return counts_;
  }

 private:
  Result<void> Plan(const std::stop_token& stop) {
    BlockRuns runs(disk_, block_count_);
    while (true) {
      if (stop.stop_requested()) return Stopped();
      VMFERRY_ASSIGN_OR_RETURN(const std::optional<BlockRun> run, runs.Next());
      if (!run) return {};
      switch (run->kind) {
        case image::ExtentKind::kHole:
          CountZeros(run->blocks, &BlockCounts::hole);
          break;
        case image::ExtentKind::kZero:
          CountZeros(run->blocks, &BlockCounts::zero);
          break;
        case image::ExtentKind::kData:
          VMFERRY_RETURN_IF_ERROR(Send(run->blocks, stop));
          break;
      }
    }
  }

  Result<void> Send(BlockRange blocks, const std::stop_token& stop) {
    while (blocks.count > 0) {
      const std::uint64_t count = std::min(blocks.count, kJobBlocks);
      if (!jobs_.Push({blocks.first, count}, stop)) return Stopped();
      blocks.first += count;
      blocks.count -= count;
    }
    return {};
  }

  Result<void> Work(const std::stop_token& stop) {
    std::vector<std::byte> buffer(kLeafBlockBytes);
    while (const std::optional<BlockRange> job = jobs_.Pop(stop)) {
      for (std::uint64_t index = job->first; index < job->first + job->count; ++index) {
        if (stop.stop_requested()) return {};  // Run finds out why
        const std::uint64_t begin_bytes = index * kLeafBlockBytes;
        const auto block = std::span(buffer).first(
            std::min<std::uint64_t>(kLeafBlockBytes, disk_.SizeBytes() - begin_bytes));
        VMFERRY_RETURN_IF_ERROR(disk_.Read(begin_bytes, block));
        CountLeaf(index, HashBlock(block));
      }
    }
    return {};
  }

  void CountZeros(BlockRange blocks, std::uint64_t BlockCounts::*kind) {
    MutexLock lock(mutex_);
    counts_.*kind += blocks.count;
    sink_.OnZeros(blocks);
    Report();
  }

  void CountLeaf(std::uint64_t index, const Leaf& leaf) {
    MutexLock lock(mutex_);
    ++counts_.data;
    sink_.OnLeaf(index, leaf);
    Report();
  }

  void Report() VMFERRY_REQUIRES(mutex_) {
    if (options_.progress) options_.progress(counts_.total(), block_count_);
  }

  const image::DiskImage& disk_;
  const HashOptions& options_;
  const std::uint64_t block_count_;
  BlockSink& sink_;
  io::BoundedQueue<BlockRange> jobs_;
  Mutex mutex_;  // held over sink and progress callback: their calls come one at a time
  BlockCounts counts_ VMFERRY_GUARDED_BY(mutex_);
};

class LeafCollector final : public BlockSink {
 public:
  void OnLeaf(std::uint64_t block_index, const Leaf& leaf) override {
    leaves_.Set(block_index, leaf);
  }
  void OnZeros(BlockRange) override {}
  LeafSet Take() { return std::move(leaves_); }

 private:
  LeafSet leaves_;
};

}  // namespace

Result<BlockCounts> HashLeaves(const image::DiskImage& disk, BlockRange range, const LeafSink& sink,
                               const OpContext& context) {
  std::vector<std::byte> buffer(kLeafBlockBytes);
  BlockCounts total;
  for (std::uint64_t done = 0; done < range.count; done += kWindowBlocks) {
    const BlockRange window = {range.first + done, std::min(kWindowBlocks, range.count - done)};
    VMFERRY_ASSIGN_OR_RETURN(const BlockCounts counts,
                             HashWindow(disk, window, sink, context, buffer));
    total.data += counts.data;
    total.zero += counts.zero;
    total.hole += counts.hole;
  }
  return total;
}

Result<BlockCounts> HashBlocks(const image::DiskImage& disk, std::uint64_t volume_bytes,
                               BlockSink& sink, const HashOptions& options,
                               const OpContext& context) {
  if (volume_bytes < disk.SizeBytes() || volume_bytes % kLeafBlockBytes != 0) {
    return Error(ErrorCode::kInvalidArgument, "proof.bad_volume_size",
                 fmt::format("a volume of {} bytes cannot hold a disk of {} bytes in whole blocks",
                             volume_bytes, disk.SizeBytes()));
  }
  return Driver(disk, options, volume_bytes / kLeafBlockBytes, sink).Run(context);
}

Result<DiskHash> HashDisk(const image::DiskImage& disk, std::uint64_t volume_bytes,
                          const HashOptions& options, const OpContext& context) {
  LeafCollector collector;
  DiskHash hash;
  VMFERRY_ASSIGN_OR_RETURN(hash.counts,
                           HashBlocks(disk, volume_bytes, collector, options, context));
  hash.leaves = collector.Take();
  hash.block_count = volume_bytes / kLeafBlockBytes;
  hash.root = hash.leaves.ComputeRoot(hash.block_count);
  return hash;
}

}  // namespace vmferry::proof
