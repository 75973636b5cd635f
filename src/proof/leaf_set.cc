// SPDX-License-Identifier: Apache-2.0
#include "proof/leaf_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace vmferry::proof {

void LeafSet::Set(std::uint64_t block_index, const Leaf& leaf) {
  const std::uint64_t blob_index = block_index / kLeavesPerBlob;
  auto found = blobs_.find(blob_index);
  if (found == blobs_.end()) {
    if (leaf == ZeroLeaf()) return;
    found = blobs_.emplace(blob_index, std::vector<Leaf>(kLeavesPerBlob, ZeroLeaf())).first;
  }
  found->second[block_index % kLeavesPerBlob] = leaf;
}

const Leaf& LeafSet::Get(std::uint64_t block_index) const {
  const auto found = blobs_.find(block_index / kLeavesPerBlob);
  if (found == blobs_.end()) return ZeroLeaf();
  return found->second[block_index % kLeavesPerBlob];
}

std::optional<std::uint64_t> LeafSet::NextNonZero(std::uint64_t block_index) const {
  for (auto blob = blobs_.lower_bound(block_index / kLeavesPerBlob); blob != blobs_.end(); ++blob) {
    const std::uint64_t first_block = blob->first * kLeavesPerBlob;
    const std::uint64_t skip = std::max(block_index, first_block) - first_block;
    for (std::uint64_t i = skip; i < kLeavesPerBlob; ++i) {
      if (blob->second[i] != ZeroLeaf()) return first_block + i;
    }
  }
  return std::nullopt;
}

Root LeafSet::ComputeRoot(std::uint64_t block_count) const {
  TreeHasher tree;
  for (const auto& [blob_index, leaves] : blobs_) {
    const std::uint64_t first_block = blob_index * kLeavesPerBlob;
    if (first_block >= block_count) break;
    tree.AppendZeros(first_block - tree.leaf_count());
    const std::uint64_t count = std::min(kLeavesPerBlob, block_count - first_block);
    for (std::uint64_t i = 0; i < count; ++i) tree.Append(leaves[i]);
  }
  tree.AppendZeros(block_count - tree.leaf_count());
  return tree.Finish();
}

std::vector<std::uint64_t> LeafSet::BlobIndices() const {
  std::vector<std::uint64_t> indices;
  for (const auto& blob : blobs_) indices.push_back(blob.first);
  return indices;
}

std::vector<std::byte> LeafSet::Blob(std::uint64_t blob_index) const {
  const auto found = blobs_.find(blob_index);
  std::vector<std::byte> bytes;
  bytes.reserve(kBlobBytes);
  for (std::uint64_t i = 0; i < kLeavesPerBlob; ++i) {
    const Leaf& leaf = found == blobs_.end() ? ZeroLeaf() : found->second[i];
    bytes.insert(bytes.end(), leaf.begin(), leaf.end());
  }
  return bytes;
}

Result<void> LeafSet::LoadBlob(std::uint64_t blob_index, std::span<const std::byte> bytes) {
  if (bytes.size() != kBlobBytes) {
    return Error(ErrorCode::kDataLoss, "proof.bad_blob",
                 fmt::format("blob {} of the hash tree has {} bytes, not {}", blob_index,
                             bytes.size(), kBlobBytes));
  }
  for (std::uint64_t i = 0; i < kLeavesPerBlob; ++i) {
    Leaf leaf;
    const auto stored = bytes.subspan(i * leaf.size(), leaf.size());
    std::copy(stored.begin(), stored.end(), leaf.begin());
    Set(blob_index * kLeavesPerBlob + i, leaf);
  }
  return {};
}

Result<Root> ComputeRootFromBlobs(std::uint64_t block_count, const BlobFetcher& fetch) {
  TreeHasher tree;
  const std::uint64_t blob_count = DivCeil(block_count, kLeavesPerBlob);
  for (std::uint64_t blob_index = 0; blob_index < blob_count; ++blob_index) {
    VMFERRY_ASSIGN_OR_RETURN(const auto bytes, fetch(blob_index));
    const std::uint64_t first_block = blob_index * kLeavesPerBlob;
    const std::uint64_t count = std::min(kLeavesPerBlob, block_count - first_block);
    if (!bytes) {
      tree.AppendZeros(count);
      continue;
    }
    LeafSet one_blob;
    VMFERRY_RETURN_IF_ERROR(one_blob.LoadBlob(0, *bytes));
    for (std::uint64_t i = 0; i < count; ++i) tree.Append(one_blob.Get(i));
  }
  return tree.Finish();
}

}  // namespace vmferry::proof
