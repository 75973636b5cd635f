// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "codec/text_codec.h"
#include "proof/leaf_set.h"
#include "testing/tool.h"

namespace vmferry::proof {
namespace {

/// RFC 9162, section 2.1.1, word for word and without any of our shortcuts. Leaf i is the SHA-256
/// of the text "i", or of 512 KiB of zeros where i is not a multiple of `step`.
constexpr std::string_view kIndependentTree = R"(
import hashlib, sys
def h(data): return hashlib.sha256(data).digest()
zero = h(bytes(524288))
def tree(leaves):
    if not leaves: return h(b"")
    if len(leaves) == 1: return h(b"\0" + leaves[0])
    k = 1
    while k * 2 < len(leaves): k *= 2
    return h(b"\1" + tree(leaves[:k]) + tree(leaves[k:]))
step = int(sys.argv[1])
for n in map(int, sys.argv[2:]):
    print(tree([h(str(i).encode()) if i % step == 0 else zero for i in range(n)]).hex())
)";

Leaf LeafOf(std::uint64_t index) { return codec::Sha256(AsBytes(std::to_string(index))); }

std::string RootOf(std::uint64_t count, std::uint64_t step) {
  TreeHasher tree;
  LeafSet leaves;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i % step == 0) {
      tree.Append(LeafOf(i));
      leaves.Set(i, LeafOf(i));
    } else {
      const std::uint64_t gap = std::min(step - i % step, count - i);
      tree.AppendZeros(gap);
      i += gap - 1;
    }
  }
  EXPECT_EQ(tree.leaf_count(), count);
  EXPECT_EQ(tree.Finish(), leaves.ComputeRoot(count));
  const auto fetched = ComputeRootFromBlobs(
      count, [&](std::uint64_t blob) -> Result<std::optional<std::vector<std::byte>>> {
        for (const std::uint64_t index : leaves.BlobIndices()) {
          if (index == blob) return std::optional(leaves.Blob(blob));
        }
        return std::optional<std::vector<std::byte>>();
      });
  EXPECT_TRUE(fetched.has_value() && *fetched == tree.Finish());
  return codec::HexEncode(tree.Finish());
}

TEST(HashTree, ZeroLeafIsTheHashOfHalfAMebibyteOfZeros) {
  EXPECT_EQ(codec::Base64Encode(ZeroLeaf()), "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=");
  EXPECT_EQ(HashBlock(std::vector<std::byte>(kLeafBlockBytes)), ZeroLeaf());
  EXPECT_EQ(HashBlock(std::vector<std::byte>(7)), ZeroLeaf());
}

TEST(HashTree, RootOfNothingIsTheHashOfNothing) {
  EXPECT_EQ(codec::HexEncode(TreeHasher().Finish()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(HashTree, AgreesWithAnIndependentComputation) {
  VMFERRY_NEEDS_TOOL("python3");
  const std::vector<std::uint64_t> counts = {1,  2,  3,  4,   5,    6,    7,    8,    9,
                                             15, 16, 17, 100, 1000, 4095, 4096, 4097, 9001};
  for (const std::uint64_t step : {1U, 3U, 1000U, 4500U}) {
    std::vector<std::string> command = {"python3", "-c", std::string(kIndependentTree),
                                        std::to_string(step)};
    std::string expected;
    for (const std::uint64_t count : counts) {
      command.push_back(std::to_string(count));
      expected += RootOf(count, step) + "\n";
    }
    const auto independent = testing::RunTool(command);
    ASSERT_TRUE(independent.ok()) << independent.error_output;
    EXPECT_EQ(independent.output, expected) << "step " << step;
  }
}

TEST(HashTree, ZeroSubtreesMakeHugeEmptyVolumesCheap) {
  TreeHasher one_by_one;
  for (int i = 0; i < 1000; ++i) one_by_one.AppendZeros(1);
  TreeHasher at_once;
  at_once.AppendZeros(1000);
  EXPECT_EQ(one_by_one.Finish(), at_once.Finish());
  TreeHasher huge;
  huge.AppendZeros(std::uint64_t{1} << 40);
  EXPECT_EQ(huge.leaf_count(), std::uint64_t{1} << 40);
}

TEST(LeafSet, KeepsOnlyBlobsWithSomethingInThem) {
  LeafSet leaves;
  leaves.Set(5, ZeroLeaf());
  EXPECT_TRUE(leaves.BlobIndices().empty());
  leaves.Set(kLeavesPerBlob * 3 + 7, LeafOf(1));
  EXPECT_EQ(leaves.BlobIndices(), std::vector<std::uint64_t>{3});
  EXPECT_EQ(leaves.Get(kLeavesPerBlob * 3 + 7), LeafOf(1));
  EXPECT_EQ(leaves.Get(kLeavesPerBlob * 3 + 8), ZeroLeaf());
  EXPECT_EQ(leaves.NextNonZero(0), kLeavesPerBlob * 3 + 7);
  EXPECT_EQ(leaves.NextNonZero(kLeavesPerBlob * 3 + 8), std::nullopt);
}

TEST(LeafSet, BlobsComeBackAsTheyWere) {
  LeafSet leaves;
  for (const std::uint64_t index : {0U, 1U, 4095U, 4096U, 20000U}) leaves.Set(index, LeafOf(index));
  LeafSet copy;
  for (const std::uint64_t blob : leaves.BlobIndices()) {
    ASSERT_TRUE(copy.LoadBlob(blob, leaves.Blob(blob)).has_value());
  }
  EXPECT_EQ(copy, leaves);
  const auto refused = copy.LoadBlob(0, std::vector<std::byte>(31));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason(), "proof.bad_blob");
}

}  // namespace
}  // namespace vmferry::proof
