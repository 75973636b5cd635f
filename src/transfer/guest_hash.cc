// SPDX-License-Identifier: Apache-2.0
#include "transfer/guest_hash.h"

#include <algorithm>
#include <atomic>
#include <set>

#include "io/task_group.h"

namespace vmferry::transfer {
namespace {

constexpr unsigned kThreads = 2;
constexpr std::uint64_t kRangeBlocks = 128;  // 64 MiB: what a thread takes at a time

struct HashedBlob {
  proof::LeafSet leaves;
  proof::BlockCounts counts;
};

// Hashes one blob's blocks with several threads, each taking ranges in turn.
Result<HashedBlob> HashBlob(const image::DiskImage& disk, proof::BlockRange blob,
                            const OpContext& context) {
  HashedBlob hashed;
  Mutex mutex;  // guards `hashed`
  std::atomic<std::uint64_t> next = 0;
  io::TaskGroup group(context.stop);
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    group.Start([&](std::stop_token stop) -> Result<void> {
      while (true) {
        const std::uint64_t done = next.fetch_add(kRangeBlocks, std::memory_order_relaxed);
        if (done >= blob.count) return {};
        const proof::BlockRange range{.first = blob.first + done,
                                      .count = std::min(kRangeBlocks, blob.count - done)};
        VMFERRY_ASSIGN_OR_RETURN(const proof::BlockCounts counts,
                                 proof::HashLeaves(disk, range,
                                                   [&](std::uint64_t index, const proof::Leaf& leaf,
                                                       image::ExtentKind) -> Result<void> {
                                                     MutexLock lock(mutex);
                                                     hashed.leaves.Set(index, leaf);
                                                     return {};
                                                   },
                                                   {context.deadline, stop}));
        MutexLock lock(mutex);
        hashed.counts.data += counts.data;
        hashed.counts.zero += counts.zero;
        hashed.counts.hole += counts.hole;
      }
    });
  }
  VMFERRY_RETURN_IF_ERROR(group.Wait());
  return hashed;
}

}  // namespace

Result<GuestHash> HashGuest(const image::DiskImage& disk, std::uint64_t volume_bytes,
                            store::Store& store, std::string_view migration_id,
                            std::uint32_t disk_number, const OpContext& context) {
  const std::uint64_t block_count = volume_bytes / proof::kLeafBlockBytes;
  GuestHash hash;
  std::set<std::uint64_t> present;
  VMFERRY_ASSIGN_OR_RETURN(const auto rows, store.LeafBlobs(migration_id, disk_number));
  for (const store::LeafBlobRow& row : rows) {
    present.insert(row.index);
    hash.counts.data += row.data_blocks;
    hash.counts.zero += row.zero_blocks;
    hash.counts.hole += row.hole_blocks;
  }
  for (std::uint64_t blob = 0; blob * proof::kLeavesPerBlob < block_count; ++blob) {
    if (present.contains(blob)) continue;
    const std::uint64_t first = blob * proof::kLeavesPerBlob;
    VMFERRY_ASSIGN_OR_RETURN(
        const HashedBlob hashed,
        HashBlob(disk, {first, std::min(proof::kLeavesPerBlob, block_count - first)}, context));
    if (context.stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "transfer.stopped", "the hashing was stopped");
    }
    const bool all_zero = hashed.leaves.BlobIndices().empty();
    VMFERRY_RETURN_IF_ERROR(
        store.PutLeafBlob(migration_id, disk_number,
                          {.index = blob,
                           .data_blocks = hashed.counts.data,
                           .zero_blocks = hashed.counts.zero,
                           .hole_blocks = hashed.counts.hole},
                          all_zero ? std::vector<std::byte>() : hashed.leaves.Blob(blob)));
    hash.counts.data += hashed.counts.data;
    hash.counts.zero += hashed.counts.zero;
    hash.counts.hole += hashed.counts.hole;
  }
  VMFERRY_ASSIGN_OR_RETURN(
      hash.root,
      proof::ComputeRootFromBlobs(
          block_count, [&](std::uint64_t blob) -> Result<std::optional<std::vector<std::byte>>> {
            VMFERRY_ASSIGN_OR_RETURN(std::vector<std::byte> leaves,
                                     store.Leaves(migration_id, disk_number, blob));
            if (leaves.empty()) return std::optional<std::vector<std::byte>>();
            return std::optional(std::move(leaves));
          }));
  return hash;
}

Result<proof::LeafSet> LoadLeaves(const store::Store& store, std::string_view migration_id,
                                  std::uint32_t disk_number) {
  proof::LeafSet leaves;
  VMFERRY_ASSIGN_OR_RETURN(const auto rows, store.LeafBlobs(migration_id, disk_number));
  for (const store::LeafBlobRow& row : rows) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::byte> blob,
                             store.Leaves(migration_id, disk_number, row.index));
    if (!blob.empty()) VMFERRY_RETURN_IF_ERROR(leaves.LoadBlob(row.index, blob));
  }
  return leaves;
}

}  // namespace vmferry::transfer
