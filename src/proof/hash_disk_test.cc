// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_disk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "codec/text_codec.h"
#include "image/extent_list.h"

namespace vmferry::proof {
namespace {

using image::Extent;
using image::ExtentKind;

/// A disk made of given extents; data bytes tell their offset.
class PatternDisk final : public image::DiskImage {
 public:
  explicit PatternDisk(std::vector<Extent> extents) : extents_(std::move(extents)) {
    size_bytes_ = extents_.back().offset_bytes + extents_.back().length_bytes;
  }

  std::uint64_t SizeBytes() const override { return size_bytes_; }
  const image::DiskImageInfo& Info() const override { return info_; }

  Result<void> Read(std::uint64_t offset, std::span<std::byte> out) const override {
    VMFERRY_RETURN_IF_ERROR(image::CheckRange(size_bytes_, offset, out.size()));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = ByteAt(offset + i);
    return {};
  }

  Result<std::vector<Extent>> Extents(std::uint64_t offset, std::uint64_t length) const override {
    VMFERRY_RETURN_IF_ERROR(image::CheckRange(size_bytes_, offset, length));
    std::vector<Extent> result;
    for (const Extent& extent : extents_) {
      const std::uint64_t begin = std::max(extent.offset_bytes, offset);
      const std::uint64_t end =
          std::min(extent.offset_bytes + extent.length_bytes, offset + length);
      if (begin < end) image::AppendExtent(result, {begin, end - begin, extent.kind});
    }
    return result;
  }

  std::byte ByteAt(std::uint64_t offset) const {
    for (const Extent& extent : extents_) {
      if (offset < extent.offset_bytes + extent.length_bytes) {
        if (extent.kind != ExtentKind::kData) return std::byte{0};
        return static_cast<std::byte>(1 + offset / 4096 % 251);
      }
    }
    return std::byte{0};
  }

 private:
  const std::vector<Extent> extents_;
  std::uint64_t size_bytes_ = 0;
  const image::DiskImageInfo info_;
};

constexpr std::uint64_t kBlock = kLeafBlockBytes;

/// Blocks: 0 data, 1 hole and zero, 2 hole, 3 data and hole, 4 zero, 5 short and data.
PatternDisk MakeDisk() {
  return PatternDisk({{0, kBlock, ExtentKind::kData},
                      {kBlock, 1000, ExtentKind::kHole},
                      {kBlock + 1000, kBlock - 1000, ExtentKind::kZero},
                      {2 * kBlock, kBlock, ExtentKind::kHole},
                      {3 * kBlock, 512, ExtentKind::kData},
                      {3 * kBlock + 512, kBlock - 512, ExtentKind::kHole},
                      {4 * kBlock, kBlock, ExtentKind::kZero},
                      {5 * kBlock, 1536, ExtentKind::kData}});
}

Leaf ExpectedLeaf(const PatternDisk& disk, std::uint64_t block) {
  std::vector<std::byte> bytes(kBlock);
  for (std::uint64_t i = 0; i < kBlock && block * kBlock + i < disk.SizeBytes(); ++i) {
    bytes[i] = disk.ByteAt(block * kBlock + i);
  }
  return codec::Sha256(bytes);
}

TEST(HashDisk, TellsDataZerosAndHolesApart) {
  const PatternDisk disk = MakeDisk();
  std::vector<std::pair<std::uint64_t, ExtentKind>> seen;
  const auto counts = HashLeaves(disk, {0, 8},
                                 [&](std::uint64_t index, const Leaf& leaf, ExtentKind kind) {
                                   seen.emplace_back(index, kind);
                                   EXPECT_EQ(leaf, ExpectedLeaf(disk, index)) << index;
                                   return Result<void>();
                                 },
                                 {});
  ASSERT_TRUE(counts.has_value()) << counts.error().ToString();
  EXPECT_EQ(*counts, (BlockCounts{.data = 3, .zero = 2, .hole = 3}));
  EXPECT_EQ(seen, (std::vector<std::pair<std::uint64_t, ExtentKind>>{{0, ExtentKind::kData},
                                                                     {1, ExtentKind::kZero},
                                                                     {3, ExtentKind::kData},
                                                                     {4, ExtentKind::kZero},
                                                                     {5, ExtentKind::kData}}));
}

TEST(HashDisk, ThreadsMakeNoDifference) {
  // Several windows of 128 blocks.
  const PatternDisk disk({{0, 130 * kBlock, ExtentKind::kHole},
                          {130 * kBlock, 2 * kBlock, ExtentKind::kData},
                          {132 * kBlock, 200 * kBlock, ExtentKind::kZero},
                          {332 * kBlock, 512, ExtentKind::kData}});
  std::vector<std::uint64_t> progress;
  const auto one = HashDisk(disk, 2048 * kBlock, {.threads = 1}, {});
  const auto four = HashDisk(disk, 2048 * kBlock,
                             {.threads = 4,
                              .progress =
                                  [&](std::uint64_t done, std::uint64_t total) {
                                    EXPECT_EQ(total, 2048U);
                                    progress.push_back(done);
                                  }},
                             {});
  ASSERT_TRUE(one.has_value() && four.has_value());
  EXPECT_EQ(one->root, four->root);
  EXPECT_EQ(one->leaves, four->leaves);
  EXPECT_EQ(one->counts, (BlockCounts{.data = 3, .zero = 200, .hole = 1845}));
  EXPECT_EQ(one->counts, four->counts);
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
  ASSERT_FALSE(progress.empty());
  EXPECT_EQ(progress.back(), 2048U);
}

TEST(HashDisk, RefusesVolumesThatCannotHoldTheDisk) {
  const PatternDisk disk = MakeDisk();
  for (const std::uint64_t volume_bytes : {5 * kBlock, 6 * kBlock + 1}) {
    const auto hash = HashDisk(disk, volume_bytes, {}, {});
    ASSERT_FALSE(hash.has_value());
    EXPECT_EQ(hash.error().reason(), "proof.bad_volume_size");
  }
}

TEST(HashDisk, StopsWhenAsked) {
  const PatternDisk disk = MakeDisk();
  std::stop_source stop;
  stop.request_stop();
  const auto hash = HashDisk(disk, 8 * kBlock, {}, {.stop = stop.get_token()});
  ASSERT_FALSE(hash.has_value());
  EXPECT_EQ(hash.error().reason(), "proof.stopped");
}

}  // namespace
}  // namespace vmferry::proof
