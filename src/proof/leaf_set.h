// SPDX-License-Identifier: Apache-2.0
//
// LeafSet: the leaves of a volume, most of which are zero.
//
// Leaves live in blobs of 4,096 (128 KiB, for 2 GiB of volume); a blob exists once one of its
// leaves is not the zero leaf. Blobs are what a journal stores: 64 MiB for a full TiB.
//
// Thread safety: none; callers lock.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "proof/hash_tree.h"

namespace vmferry::proof {

inline constexpr std::uint64_t kLeavesPerBlob = 4096;
inline constexpr std::size_t kBlobBytes = kLeavesPerBlob * 32;

class LeafSet {
 public:
  void Set(std::uint64_t block_index, const Leaf& leaf);
  /// The leaf; the zero leaf when none was set.
  const Leaf& Get(std::uint64_t block_index) const;
  /// The first block at or after `block_index` whose leaf is not the zero leaf.
  std::optional<std::uint64_t> NextNonZero(std::uint64_t block_index) const;
  /// Root of the tree over blocks 0 to block_count - 1.
  Root ComputeRoot(std::uint64_t block_count) const;

  /// Indices of the blobs that exist, ascending. Blob b holds blocks b * 4096 to b * 4096 + 4095.
  std::vector<std::uint64_t> BlobIndices() const;
  /// The leaves of a blob one after the other, kBlobBytes long; all zero leaves when it does not
  /// exist.
  std::vector<std::byte> Blob(std::uint64_t blob_index) const;
  /// Takes a blob back. Errors: kDataLoss proof.bad_blob when it is not kBlobBytes long.
  Result<void> LoadBlob(std::uint64_t blob_index, std::span<const std::byte> bytes);

  bool operator==(const LeafSet&) const = default;

 private:
  std::map<std::uint64_t, std::vector<Leaf>> blobs_;  // each of kLeavesPerBlob leaves
};

/// Root from blobs that are fetched one by one, in ascending order: for volumes whose leaves need
/// not be in memory together. `fetch` returns the blob, or nothing when it was never stored.
///
/// Errors: those of `fetch`; kDataLoss proof.bad_blob.
using BlobFetcher =
    std::function<Result<std::optional<std::vector<std::byte>>>(std::uint64_t blob_index)>;
Result<Root> ComputeRootFromBlobs(std::uint64_t block_count, const BlobFetcher& fetch);

}  // namespace vmferry::proof
