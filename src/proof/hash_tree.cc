// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_tree.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/check.h"
#include "codec/text_codec.h"

namespace vmferry::proof {
namespace {

// RFC 9162, section 2.1.1: HASH(0x00 || d) for a leaf, HASH(0x01 || left || right) for a node.
codec::Sha256Digest HashLowestNode(const Leaf& leaf) {
  std::array<std::byte, 1 + 32> bytes{std::byte{0}};
  std::copy(leaf.begin(), leaf.end(), bytes.begin() + 1);
  return codec::Sha256(bytes);
}

codec::Sha256Digest HashNode(const codec::Sha256Digest& left, const codec::Sha256Digest& right) {
  std::array<std::byte, 1 + 2 * 32> bytes{std::byte{1}};
  std::copy(left.begin(), left.end(), bytes.begin() + 1);
  std::copy(right.begin(), right.end(), bytes.begin() + 1 + 32);
  return codec::Sha256(bytes);
}

constexpr unsigned kMaxHeight = 63;

/// Digest of a subtree of 2^height zero leaves.
const codec::Sha256Digest& ZeroSubtree(unsigned height) {
  static const auto kDigests = [] {
    std::array<codec::Sha256Digest, kMaxHeight + 1> digests;
    digests[0] = HashLowestNode(ZeroLeaf());
    for (std::size_t i = 1; i < digests.size(); ++i) {
      digests[i] = HashNode(digests[i - 1], digests[i - 1]);
    }
    return digests;
  }();
  return kDigests[height];
}

}  // namespace

std::string FormatRoot(const Root& root) { return codec::HexEncode(root); }

const Leaf& ZeroLeaf() {
  static const Leaf kLeaf = HashBlock({});
  return kLeaf;
}

Leaf HashBlock(std::span<const std::byte> block) {
  VMFERRY_CHECK(block.size() <= kLeafBlockBytes);
  if (block.size() == kLeafBlockBytes) return codec::Sha256(block);
  std::vector<std::byte> padded(kLeafBlockBytes);
  std::copy(block.begin(), block.end(), padded.begin());
  return codec::Sha256(padded);
}

void TreeHasher::Push(Subtree subtree) {
  while (!stack_.empty() && stack_.back().height == subtree.height) {
    subtree.digest = HashNode(stack_.back().digest, subtree.digest);
    ++subtree.height;
    stack_.pop_back();
  }
  stack_.push_back(subtree);
}

void TreeHasher::Append(const Leaf& leaf) {
  Push({.height = 0, .digest = HashLowestNode(leaf)});
  ++leaf_count_;
}

void TreeHasher::AppendZeros(std::uint64_t count) {
  while (count > 0) {
    // The largest subtree that fits and begins where the leaves so far end.
    unsigned height = static_cast<unsigned>(std::bit_width(count)) - 1;
    if (leaf_count_ != 0) {
      height = std::min(height, static_cast<unsigned>(std::countr_zero(leaf_count_)));
    }
    height = std::min(height, kMaxHeight);
    Push({.height = height, .digest = ZeroSubtree(height)});
    leaf_count_ += std::uint64_t{1} << height;
    count -= std::uint64_t{1} << height;
  }
}

Root TreeHasher::Finish() const {
  if (stack_.empty()) return codec::Sha256({});
  codec::Sha256Digest digest = stack_.back().digest;
  for (std::size_t i = stack_.size() - 1; i > 0; --i) {
    digest = HashNode(stack_[i - 1].digest, digest);
  }
  return digest;
}

}  // namespace vmferry::proof
