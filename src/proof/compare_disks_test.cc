// SPDX-License-Identifier: Apache-2.0
#include "proof/compare_disks.h"

#include <gtest/gtest.h>

#include <random>

#include "base/units.h"
#include "testing/extents_disk.h"

namespace vmferry::proof {
namespace {

using image::Extent;
using image::ExtentKind;
using testing::ExtentsDisk;

constexpr std::byte kOther{0xff};

DiskComparison Found(const image::DiskImage& a, const image::DiskImage& b) {
  const auto found = CompareDisks(a, b, {.threads = 3}, {});
  EXPECT_TRUE(found.has_value()) << found.error().ToString();
  return found.value_or(DiskComparison{});
}

TEST(CompareDisks, SameBytesInDifferentExtentsAreTheSame) {
  // Data of zeros is what a hole is, and what a written zero is.
  const ExtentsDisk a({{0, kMiB, ExtentKind::kData}, {kMiB, kMiB, ExtentKind::kHole}},
                      std::byte{0});
  const ExtentsDisk b({{0, kMiB, ExtentKind::kZero}, {kMiB, kMiB, ExtentKind::kZero}});
  const DiskComparison found = Found(a, b);
  EXPECT_TRUE(found.same_bytes());
  EXPECT_TRUE(found.same_size());
  EXPECT_EQ(found.compared_bytes, kMiB);
  EXPECT_EQ(found.differing_allocation_bytes, kMiB);
  EXPECT_EQ(found.first_differing_allocation_bytes, kMiB);
  EXPECT_FALSE(found.same_everything());
}

TEST(CompareDisks, FindsOneByteAtItsOffset) {
  constexpr std::uint64_t kSize = 40 * kMiB + 512;
  for (const std::uint64_t offset : {std::uint64_t{0}, 4095 * std::uint64_t{1}, 512 * kKiB - 1,
                                     512 * kKiB, 4 * kMiB, 20 * kMiB + 17, kSize - 1}) {
    ExtentsDisk a({{0, kSize, ExtentKind::kData}});
    const ExtentsDisk b({{0, kSize, ExtentKind::kData}});
    a.Put(offset, kOther);
    for (const auto& found : {Found(a, b), Found(b, a)}) {
      EXPECT_EQ(found.ranges, (std::vector<DifferingRange>{{offset, 1}}));
      EXPECT_EQ(found.differing_bytes, 1U);
      EXPECT_EQ(found.last_difference_bytes, offset);
      EXPECT_TRUE(found.ranges_complete);
    }
  }
}

TEST(CompareDisks, DataAgainstAHoleDiffersWhereItIsNotZero) {
  ExtentsDisk a({{0, kMiB, ExtentKind::kData}}, std::byte{0});
  a.Put(700'000, kOther);
  const ExtentsDisk b({{0, kMiB, ExtentKind::kHole}});
  EXPECT_EQ(Found(a, b).ranges, (std::vector<DifferingRange>{{700'000, 1}}));
  EXPECT_EQ(Found(b, a).ranges, (std::vector<DifferingRange>{{700'000, 1}}));
}

TEST(CompareDisks, RangesGoOnAcrossPieces) {
  const ExtentsDisk a({{0, 16 * kMiB, ExtentKind::kData}});
  const ExtentsDisk b({{0, 16 * kMiB, ExtentKind::kData}}, kOther);
  const DiskComparison found = Found(a, b);
  EXPECT_EQ(found.ranges, (std::vector<DifferingRange>{{0, 16 * kMiB}}));
  EXPECT_EQ(found.differing_bytes, 16 * kMiB);
}

TEST(CompareDisks, ListsTheFirstRangesAndCountsTheRest) {
  ExtentsDisk a({{0, 8 * kMiB, ExtentKind::kData}});
  const ExtentsDisk b({{0, 8 * kMiB, ExtentKind::kData}});
  for (std::uint64_t i = 0; i < 2 * kMaxDifferingRanges; ++i) a.Put(i * 65536, kOther);
  const DiskComparison found = Found(a, b);
  ASSERT_EQ(found.ranges.size(), kMaxDifferingRanges);
  EXPECT_EQ(found.ranges.back(), (DifferingRange{(kMaxDifferingRanges - 1) * 65536, 1}));
  EXPECT_FALSE(found.ranges_complete);
  EXPECT_EQ(found.differing_bytes, 2 * kMaxDifferingRanges);
  EXPECT_EQ(found.last_difference_bytes, (2 * kMaxDifferingRanges - 1) * 65536);
}

TEST(CompareDisks, ALongerDiskIsTheSameWhenItsRestIsZero) {
  const ExtentsDisk a({{0, kMiB, ExtentKind::kData}});
  ExtentsDisk b({{0, kMiB, ExtentKind::kData}, {kMiB, kMiB, ExtentKind::kHole}});
  const DiskComparison found = Found(a, b);
  EXPECT_TRUE(found.same_bytes());
  EXPECT_FALSE(found.same_size());
  EXPECT_EQ(found.differing_allocation_bytes, 0U);

  const ExtentsDisk longer({{0, kMiB + 512, ExtentKind::kData}});
  EXPECT_EQ(Found(a, longer).ranges, (std::vector<DifferingRange>{{kMiB, 512}}));
  EXPECT_EQ(Found(longer, a).ranges, (std::vector<DifferingRange>{{kMiB, 512}}));
}

TEST(CompareDisks, EmptyDisksAreTheSame) {
  EXPECT_TRUE(Found(ExtentsDisk({}), ExtentsDisk({})).same_everything());
}

TEST(CompareDisks, HolesOfAnySizeCostNothing) {
  const ExtentsDisk a({{0, 60 * kTiB, ExtentKind::kHole}});
  const ExtentsDisk b({{0, 60 * kTiB, ExtentKind::kZero}});
  EXPECT_TRUE(Found(a, b).same_bytes());
}

TEST(CompareDisks, ProgressOnlyGrowsAndEndsAtTheEnd) {
  const ExtentsDisk a({{0, 30 * kMiB, ExtentKind::kData}});
  std::vector<std::uint64_t> seen;
  ASSERT_TRUE(CompareDisks(a, a,
                           {.threads = 4,
                            .progress =
                                [&](std::uint64_t done, std::uint64_t total) {
                                  EXPECT_EQ(total, 30 * kMiB);
                                  seen.push_back(done);
                                }},
                           {}));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back(), 30 * kMiB);
}

TEST(CompareDisks, ErrorsNameTheDisk) {
  const ExtentsDisk a({{0, 30 * kMiB, ExtentKind::kData}});
  ExtentsDisk b({{0, 30 * kMiB, ExtentKind::kData}});
  b.BreakAt(11 * kMiB);
  const auto found = CompareDisks(a, b, {.name_a = "a.raw", .name_b = "b.raw"}, {});
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().reason(), "io.read_failed");
  ASSERT_NE(found.error().FindFact("path"), nullptr);
  EXPECT_EQ(*found.error().FindFact("path"), "b.raw");
}

TEST(CompareDisks, StopsWhenAsked) {
  const ExtentsDisk a({{0, kMiB, ExtentKind::kData}});
  std::stop_source stop;
  stop.request_stop();
  const auto found = CompareDisks(a, a, {}, {.stop = stop.get_token()});
  ASSERT_FALSE(found.has_value());
  EXPECT_EQ(found.error().reason(), "proof.stopped");
}

/// Extents of random kinds and lengths.
std::vector<Extent> RandomExtents(std::mt19937_64& random, std::uint64_t size_bytes) {
  std::vector<Extent> extents;
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    const std::uint64_t length = std::min(1 + random() % (700 * kKiB), size_bytes - offset);
    image::AppendExtent(extents, {offset, length, static_cast<ExtentKind>(random() % 3)});
    offset += length;
  }
  return extents;
}

TEST(CompareDisksProperty, AgreesWithReadingBothWhole) {
  constexpr std::uint64_t kSeed = 20261129;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t size_a = 1 + random() % (4 * kMiB);
    const std::uint64_t size_b = round % 2 == 0 ? size_a : 1 + random() % (4 * kMiB);
    ExtentsDisk a(RandomExtents(random, size_a), std::byte{static_cast<unsigned char>(round % 3)});
    ExtentsDisk b(RandomExtents(random, size_b), std::byte{static_cast<unsigned char>(round % 2)});
    for (int i = 0; i < 20; ++i) a.Put(random() % size_a, kOther);
    const std::uint64_t size = std::max(size_a, size_b);
    std::vector<std::byte> bytes_a(size);
    std::vector<std::byte> bytes_b(size);
    ASSERT_TRUE(a.Read(0, std::span(bytes_a).first(size_a)));
    ASSERT_TRUE(b.Read(0, std::span(bytes_b).first(size_b)));
    std::vector<DifferingRange> expected;
    const bool complete = AppendDifferences(bytes_a, bytes_b, 0, kMaxDifferingRanges, expected);
    std::uint64_t differing = 0;
    for (std::size_t i = 0; i < size; ++i) differing += bytes_a[i] != bytes_b[i] ? 1U : 0U;
    const DiskComparison found = Found(a, b);
    EXPECT_EQ(found.ranges, expected);
    EXPECT_EQ(found.ranges_complete, complete);
    EXPECT_EQ(found.differing_bytes, differing);
  }
}

}  // namespace
}  // namespace vmferry::proof
