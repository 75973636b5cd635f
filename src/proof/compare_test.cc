// SPDX-License-Identifier: Apache-2.0
#include "proof/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "image/open.h"
#include "proof/hash_disk.h"
#include "testing/fake_random.h"

namespace vmferry::proof {
namespace {

using Bytes = std::vector<std::byte>;

/// A target in memory that lists what it was given, three blocks a page.
class MemoryTarget final : public TargetBlocks {
 public:
  std::map<std::uint64_t, Bytes> blocks;
  std::vector<std::uint64_t> listing;  // instead of the blocks in order
  std::uint64_t broken_block = ~std::uint64_t{0};

  Result<std::vector<std::uint64_t>> NextPage(const OpContext&) override {
    if (!started_) {
      started_ = true;
      if (listing.empty()) {
        for (const auto& block : blocks) listing.push_back(block.first);
      }
    }
    const std::size_t end = std::min(position_ + 3, listing.size());
    std::vector<std::uint64_t> page(listing.begin() + static_cast<std::ptrdiff_t>(position_),
                                    listing.begin() + static_cast<std::ptrdiff_t>(end));
    position_ = end;
    return page;
  }

  Result<void> ReadBlock(std::uint64_t index, std::span<std::byte> out, const OpContext&) override {
    if (index == broken_block) return Error(ErrorCode::kUnavailable, "test.broken", "broken");
    std::copy(blocks.at(index).begin(), blocks.at(index).end(), out.begin());
    return {};
  }

 private:
  bool started_ = false;
  std::size_t position_ = 0;
};

struct Setting {
  std::unique_ptr<image::DiskImage> disk;
  DiskHash hash;
  MemoryTarget target;
};

constexpr std::uint64_t kBlocks = 20;

/// A disk of 9.5 blocks on a volume of 20, of which blocks 3 and 4 are zero; the target holds what
/// an honest import makes of it.
Setting MakeSetting() {
  testing::FakeRandom random(3);
  Bytes guest(kLeafBlockBytes * 9 + kLeafBlockBytes / 2);
  random.Fill(guest);
  std::fill_n(guest.begin() + 3 * static_cast<std::ptrdiff_t>(kLeafBlockBytes), 2 * kLeafBlockBytes,
              std::byte{0});
  Setting setting;
  for (std::uint64_t i = 0; i < 10; ++i) {
    if (i == 3) continue;  // one zero block listed, one not: both are right
    const std::uint64_t begin = i * kLeafBlockBytes;
    const std::uint64_t end = std::min<std::uint64_t>(begin + kLeafBlockBytes, guest.size());
    Bytes block(guest.begin() + static_cast<std::ptrdiff_t>(begin),
                guest.begin() + static_cast<std::ptrdiff_t>(end));
    block.resize(kLeafBlockBytes);
    setting.target.blocks[i] = std::move(block);
  }
  auto disk = image::OpenDiskSource(image::MakeMemorySource(std::move(guest)), "disk.raw");
  EXPECT_TRUE(disk.has_value());
  setting.disk = std::move(*disk);
  auto hash = HashDisk(*setting.disk, kBlocks * kLeafBlockBytes, {.threads = 3}, {});
  EXPECT_TRUE(hash.has_value());
  setting.hash = std::move(*hash);
  return setting;
}

Result<Comparison> CompareWith(Setting& setting, bool with_source = true) {
  return Compare(setting.hash.leaves, kBlocks, setting.target,
                 {.threads = 3, .source = with_source ? setting.disk.get() : nullptr}, {});
}

TEST(Compare, AccountsForEveryBlockOfAnHonestTarget) {
  Setting setting = MakeSetting();
  const auto result = CompareWith(setting);
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_TRUE(result->identical());
  EXPECT_EQ(result->counts,
            (CompareCounts{.total = 20, .compared = 9, .unlisted = 11, .identical = 9, .read = 9}));
  EXPECT_EQ(result->target_root, setting.hash.root);
  EXPECT_TRUE(result->ranges.empty());
}

TEST(Compare, NamesTheByteThatWasFlipped) {
  Setting setting = MakeSetting();
  setting.target.blocks[7][1234] ^= std::byte{1};
  const auto result = CompareWith(setting);
  ASSERT_TRUE(result.has_value());
  EXPECT_FALSE(result->identical());
  EXPECT_EQ(result->counts.differing, 1U);
  EXPECT_EQ(result->counts.identical, 8U);
  EXPECT_NE(result->target_root, setting.hash.root);
  EXPECT_EQ(result->ranges, (std::vector<DifferingRange>{{7 * kLeafBlockBytes + 1234, 1}}));
}

TEST(Compare, NamesTheBlockWithoutTheSource) {
  Setting setting = MakeSetting();
  setting.target.blocks[7][1234] ^= std::byte{1};
  const auto result = CompareWith(setting, false);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->ranges, (std::vector<DifferingRange>{{7 * kLeafBlockBytes, kLeafBlockBytes}}));
}

TEST(Compare, BlockThatIsNotListedCountsAsZeros) {
  Setting setting = MakeSetting();
  setting.target.blocks.erase(9);
  const auto result = CompareWith(setting, false);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->counts.missing, 1U);
  EXPECT_EQ(result->counts.differing, 1U);
  EXPECT_EQ(result->counts.compared, 9U);
  EXPECT_EQ(result->counts.total, result->counts.compared + result->counts.unlisted);
}

TEST(Compare, SeesBytesBeyondTheEndOfTheDisk) {
  Setting setting = MakeSetting();
  setting.target.blocks[19] = Bytes(kLeafBlockBytes);
  setting.target.blocks[19][kLeafBlockBytes - 1] = std::byte{7};
  const auto result = CompareWith(setting);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->ranges, (std::vector<DifferingRange>{{20 * kLeafBlockBytes - 1, 1}}));
}

TEST(Compare, CapsTheListOfDifferences) {
  Setting setting = MakeSetting();
  for (std::size_t i = 0; i < 2 * kMaxDifferingRanges; ++i) {
    setting.target.blocks[0][i * 3] ^= std::byte{1};
  }
  const auto result = CompareWith(setting);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->ranges.size(), kMaxDifferingRanges);
  EXPECT_FALSE(result->ranges_complete);
}

TEST(Compare, RefusesListsThatCannotBeRight) {
  {
    Setting setting = MakeSetting();
    setting.target.listing = {0, 2, 1};
    const auto result = CompareWith(setting);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().reason(), "proof.listing_order");
  }
  {
    Setting setting = MakeSetting();
    setting.target.listing = {0, 1, 2, 2};
    const auto result = CompareWith(setting);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().reason(), "proof.listing_order");
  }
  {
    Setting setting = MakeSetting();
    setting.target.listing = {0, kBlocks};
    const auto result = CompareWith(setting);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().reason(), "proof.block_out_of_range");
  }
}

TEST(Compare, PassesOnTheErrorOfARead) {
  Setting setting = MakeSetting();
  setting.target.broken_block = 5;
  const auto result = CompareWith(setting);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().reason(), "test.broken");
}

TEST(Compare, StopsWhenAsked) {
  Setting setting = MakeSetting();
  std::stop_source stop;
  stop.request_stop();
  const auto result =
      Compare(setting.hash.leaves, kBlocks, setting.target, {}, {.stop = stop.get_token()});
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().reason(), "proof.stopped");
}

TEST(AppendDifferences, AgreesWithAByteByByteWalkProperty) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    testing::FakeRandom random(seed);
    Bytes a(2000);
    random.Fill(a);
    Bytes b = a;
    for (std::uint64_t i = random.Below(40); i > 0; --i) b[random.Below(b.size())] ^= std::byte{1};
    std::vector<DifferingRange> ranges;
    EXPECT_TRUE(AppendDifferences(a, b, 100, 1000, ranges));
    std::vector<bool> differs(a.size());
    for (const DifferingRange& range : ranges) {
      for (std::uint64_t i = 0; i < range.length_bytes; ++i) {
        differs[range.offset_bytes - 100 + i] = true;
      }
    }
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(differs[i], a[i] != b[i]) << i;
  }
}

}  // namespace
}  // namespace vmferry::proof
