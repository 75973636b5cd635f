// SPDX-License-Identifier: Apache-2.0
//
// The hash tree over the guest bytes of a volume: one leaf for each 512 KiB block.
//
// A leaf is the SHA-256 of the block, which is what EC2's EBS direct APIs give as a block's
// checksum. The tree is the Merkle tree of RFC 9162, section 2.1.1, with the leaves as its inputs:
// node = SHA-256(0x01 || left || right), lowest node = SHA-256(0x00 || leaf). Runs of zero blocks
// cost one hash for each level of the tree.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "codec/digest.h"

namespace vmferry::proof {

/// Size of an EBS block (API model of the EBS direct APIs: BlockSize is 524288).
inline constexpr std::uint64_t kLeafBlockBytes = 524288;

using Leaf = codec::Sha256Digest;
using Root = codec::Sha256Digest;

/// A root as people compare it: 64 hexadecimal digits.
std::string FormatRoot(const Root& root);

/// The leaf of a block of zeros: B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE= in base64.
const Leaf& ZeroLeaf();

/// The leaf of a block; bytes that are missing at its end (the tail of a disk) count as zeros.
/// Pre: at most kLeafBlockBytes.
Leaf HashBlock(std::span<const std::byte> block);

/// Computes the root from leaves in the order of their indices, in memory that grows with the
/// logarithm of their number.
class TreeHasher {
 public:
  void Append(const Leaf& leaf);
  /// Appends `count` zero leaves.
  void AppendZeros(std::uint64_t count);
  std::uint64_t leaf_count() const { return leaf_count_; }
  /// The root over what was appended; for nothing at all the SHA-256 of nothing (RFC 9162).
  Root Finish() const;

 private:
  /// A perfect subtree of 2^height leaves.
  struct Subtree {
    unsigned height = 0;
    codec::Sha256Digest digest{};
  };
  void Push(Subtree subtree);

  std::vector<Subtree> stack_;  // heights fall strictly from bottom to top
  std::uint64_t leaf_count_ = 0;
};

}  // namespace vmferry::proof
