// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/mutex.h"
#include "base/units.h"
#include "io/task_group.h"

namespace vmferry::proof {
namespace {

/// Extents are asked for, and work is handed to threads, in units of 128 blocks: 64 MiB.
constexpr std::uint64_t kWindowBlocks = 128;

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
  VMFERRY_ASSIGN_OR_RETURN(const auto extents, disk.Extents(begin_bytes, end_bytes - begin_bytes));
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

/// Threads take windows from a common counter until none is left.
class Driver {
 public:
  Driver(const image::DiskImage& disk, const HashOptions& options, std::uint64_t block_count)
      : disk_(disk), options_(options), block_count_(block_count) {}

  Result<void> Run(const OpContext& context) {
    io::TaskGroup group(context.stop);
    for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
      group.Start([this, &context](std::stop_token stop) {
        return Work(OpContext{context.deadline, std::move(stop)});
      });
    }
    VMFERRY_RETURN_IF_ERROR(group.Wait());
    if (context.stop.stop_requested()) return Stopped();
    return {};
  }

  DiskHash Take() {
    MutexLock lock(mutex_);
    result_.block_count = block_count_;
    result_.root = result_.leaves.ComputeRoot(block_count_);
    return std::move(result_);
  }

 private:
  Result<void> Work(const OpContext& context) {
    std::vector<std::byte> buffer(kLeafBlockBytes);
    while (true) {
      // Relaxed: the counter only deals out numbers.
      const std::uint64_t first = next_block_.fetch_add(kWindowBlocks, std::memory_order_relaxed);
      if (first >= block_count_) return {};
      const BlockRange window = {first, std::min(kWindowBlocks, block_count_ - first)};
      const LeafSink sink = [this](std::uint64_t index, const Leaf& leaf, image::ExtentKind) {
        MutexLock lock(mutex_);
        result_.leaves.Set(index, leaf);
        return Result<void>();
      };
      VMFERRY_ASSIGN_OR_RETURN(const BlockCounts counts,
                               HashWindow(disk_, window, sink, context, buffer));
      Count(counts);
    }
  }

  void Count(const BlockCounts& counts) {
    std::uint64_t done = 0;
    {
      MutexLock lock(mutex_);
      result_.counts.data += counts.data;
      result_.counts.zero += counts.zero;
      result_.counts.hole += counts.hole;
      done = result_.counts.total();
    }
    if (!options_.progress) return;
    MutexLock lock(progress_mutex_);
    reported_ = std::max(reported_, done);
    options_.progress(reported_, block_count_);
  }

  const image::DiskImage& disk_;
  const HashOptions& options_;
  const std::uint64_t block_count_;
  std::atomic<std::uint64_t> next_block_ = 0;
  Mutex mutex_;
  DiskHash result_ VMFERRY_GUARDED_BY(mutex_);
  Mutex progress_mutex_;  // held over the callback so that its calls come one at a time
  std::uint64_t reported_ VMFERRY_GUARDED_BY(progress_mutex_) = 0;
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

Result<DiskHash> HashDisk(const image::DiskImage& disk, std::uint64_t volume_bytes,
                          const HashOptions& options, const OpContext& context) {
  if (volume_bytes < disk.SizeBytes() || volume_bytes % kLeafBlockBytes != 0) {
    return Error(ErrorCode::kInvalidArgument, "proof.bad_volume_size",
                 fmt::format("a volume of {} bytes cannot hold a disk of {} bytes in whole blocks",
                             volume_bytes, disk.SizeBytes()));
  }
  Driver driver(disk, options, volume_bytes / kLeafBlockBytes);
  VMFERRY_RETURN_IF_ERROR(driver.Run(context));
  return driver.Take();
}

}  // namespace vmferry::proof
