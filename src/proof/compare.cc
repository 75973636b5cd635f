// SPDX-License-Identifier: Apache-2.0
#include "proof/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <optional>

#include "base/mutex.h"
#include "io/task_group.h"

namespace vmferry::proof {
namespace {

Error Stopped() {
  return Error(ErrorCode::kCancelled, "proof.stopped", "the comparison was asked to stop");
}

class Comparer {
 public:
  Comparer(const LeafSet& source_leaves, std::uint64_t block_count, TargetBlocks& target,
           const CompareOptions& options)
      : source_leaves_(source_leaves),
        target_(target),
        options_(options),
        block_count_(block_count) {
    result_.counts.total = block_count;
  }

  Result<Comparison> Run(const OpContext& context) {
    while (true) {
      VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::uint64_t> page, target_.NextPage(context));
      if (page.empty()) break;
      VMFERRY_RETURN_IF_ERROR(CheckPage(page));
      VMFERRY_ASSIGN_OR_RETURN(const std::vector<Leaf> leaves, HashPage(page, context));
      for (std::size_t i = 0; i < page.size(); ++i) {
        VMFERRY_RETURN_IF_ERROR(AccountForGap(page[i], context));
        VMFERRY_RETURN_IF_ERROR(AccountForListed(page[i], leaves[i], context));
      }
      Report(next_block_);
    }
    VMFERRY_RETURN_IF_ERROR(AccountForGap(block_count_, context));
    Report(block_count_);
    result_.counts.unlisted = result_.counts.total - result_.counts.compared;
    result_.target_root = target_tree_.Finish();
    return std::move(result_);
  }

 private:
  Result<void> CheckPage(const std::vector<std::uint64_t>& page) {
    std::uint64_t lowest = next_block_;
    for (const std::uint64_t index : page) {
      if (index >= block_count_) {
        return Error(ErrorCode::kDataLoss, "proof.block_out_of_range",
                     fmt::format("the target lists block {} of a volume of {} blocks", index,
                                 block_count_))
            .With("block_index", index);
      }
      if (index < lowest) {
        return Error(ErrorCode::kDataLoss, "proof.listing_order",
                     fmt::format("the target lists block {} after block {}", index, lowest - 1))
            .With("block_index", index);
      }
      lowest = index + 1;
    }
    return {};
  }

  /// Reads and hashes the blocks of a page, several at once.
  Result<std::vector<Leaf>> HashPage(const std::vector<std::uint64_t>& page,
                                     const OpContext& context) {
    std::vector<Leaf> leaves(page.size());
    std::atomic<std::size_t> next = 0;
    std::atomic<std::uint64_t> done = 0;
    io::TaskGroup group(context.stop);
    const std::size_t threads = std::min<std::size_t>(std::max(options_.threads, 1U), page.size());
    for (std::size_t t = 0; t < threads; ++t) {
      group.Start([&](std::stop_token stop) -> Result<void> {
        const OpContext inner = {context.deadline, stop};
        std::vector<std::byte> block(kLeafBlockBytes);
        while (true) {
          // Relaxed: the counters only deal out and count numbers.
          const std::size_t i = next.fetch_add(1, std::memory_order_relaxed);
          if (i >= page.size()) return {};
          if (stop.stop_requested()) return Stopped();
          VMFERRY_RETURN_IF_ERROR(target_.ReadBlock(page[i], block, inner));
          leaves[i] = HashBlock(block);
          Report(next_block_ + done.fetch_add(1, std::memory_order_relaxed) + 1);
        }
      });
    }
    VMFERRY_RETURN_IF_ERROR(group.Wait());
    if (context.stop.stop_requested()) return Stopped();
    return leaves;
  }

  /// Blocks from next_block_ to `end` are not listed: zeros.
  Result<void> AccountForGap(std::uint64_t end, const OpContext& context) {
    target_tree_.AppendZeros(end - next_block_);
    for (auto block = source_leaves_.NextNonZero(next_block_); block && *block < end;
         block = source_leaves_.NextNonZero(*block + 1)) {
      ++result_.counts.compared;
      ++result_.counts.missing;
      VMFERRY_RETURN_IF_ERROR(NoteDifference(*block, false, context));
    }
    next_block_ = end;
    return {};
  }

  Result<void> AccountForListed(std::uint64_t block, const Leaf& leaf, const OpContext& context) {
    target_tree_.Append(leaf);
    ++result_.counts.compared;
    ++result_.counts.read;
    next_block_ = block + 1;
    if (leaf != source_leaves_.Get(block)) return NoteDifference(block, true, context);
    ++result_.counts.identical;
    return {};
  }

  Result<void> NoteDifference(std::uint64_t block, bool listed, const OpContext& context) {
    ++result_.counts.differing;
    if (!result_.ranges_complete) return {};
    const std::uint64_t offset_bytes = block * kLeafBlockBytes;
    if (options_.source == nullptr) {
      result_.ranges_complete =
          AppendDifference(result_.ranges, {offset_bytes, kLeafBlockBytes}, kMaxDifferingRanges);
      return {};
    }
    std::vector<std::byte> expected(kLeafBlockBytes);
    std::vector<std::byte> found(kLeafBlockBytes);
    const std::uint64_t disk_bytes = options_.source->SizeBytes();
    if (offset_bytes < disk_bytes) {
      const auto part =
          std::span(expected).first(std::min(kLeafBlockBytes, disk_bytes - offset_bytes));
      VMFERRY_RETURN_IF_ERROR(options_.source->Read(offset_bytes, part));
    }
    if (listed) VMFERRY_RETURN_IF_ERROR(target_.ReadBlock(block, found, context));
    const std::size_t before = result_.ranges.size();
    const std::uint64_t end_before = before == 0 ? 0 : result_.ranges.back().length_bytes;
    result_.ranges_complete =
        AppendDifferences(expected, found, offset_bytes, kMaxDifferingRanges, result_.ranges);
    const bool found_any = result_.ranges.size() != before ||
                           (before != 0 && result_.ranges.back().length_bytes != end_before) ||
                           !result_.ranges_complete;
    // The leaves differ, yet the bytes at hand do not: the source changed since it was hashed.
    if (!found_any) {
      result_.ranges_complete =
          AppendDifference(result_.ranges, {offset_bytes, kLeafBlockBytes}, kMaxDifferingRanges);
    }
    return {};
  }

  void Report(std::uint64_t done_blocks) {
    if (!options_.progress) return;
    MutexLock lock(progress_mutex_);
    reported_ = std::max(reported_, done_blocks);
    options_.progress(reported_, block_count_);
  }

  const LeafSet& source_leaves_;
  TargetBlocks& target_;
  const CompareOptions& options_;
  const std::uint64_t block_count_;
  std::uint64_t next_block_ = 0;  // all blocks before it are accounted for
  TreeHasher target_tree_;
  Comparison result_;
  Mutex progress_mutex_;  // held over the callback so that its calls come one at a time
  std::uint64_t reported_ VMFERRY_GUARDED_BY(progress_mutex_) = 0;
};

}  // namespace

bool AppendDifference(std::vector<DifferingRange>& ranges, const DifferingRange& range,
                      std::size_t limit) {
  if (!ranges.empty() &&
      ranges.back().offset_bytes + ranges.back().length_bytes == range.offset_bytes) {
    ranges.back().length_bytes += range.length_bytes;
    return true;
  }
  if (ranges.size() >= limit) return false;
  ranges.push_back(range);
  return true;
}

bool AppendDifferences(std::span<const std::byte> a, std::span<const std::byte> b,
                       std::uint64_t base_offset_bytes, std::size_t limit,
                       std::vector<DifferingRange>& ranges) {
  VMFERRY_CHECK(a.size() == b.size());
  std::size_t begin = 0;
  while (true) {
    begin = static_cast<std::size_t>(std::mismatch(a.begin() + static_cast<std::ptrdiff_t>(begin),
                                                   a.end(),
                                                   b.begin() + static_cast<std::ptrdiff_t>(begin))
                                         .first -
                                     a.begin());
    if (begin == a.size()) return true;
    std::size_t end = begin + 1;
    while (end < a.size() && a[end] != b[end]) ++end;
    if (!AppendDifference(ranges, {base_offset_bytes + begin, end - begin}, limit)) return false;
    begin = end;
  }
}

Result<Comparison> Compare(const LeafSet& source_leaves, std::uint64_t block_count,
                           TargetBlocks& target, const CompareOptions& options,
                           const OpContext& context) {
  return Comparer(source_leaves, block_count, target, options).Run(context);
}

}  // namespace vmferry::proof
