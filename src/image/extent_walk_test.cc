// SPDX-License-Identifier: Apache-2.0
#include "image/extent_walk.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "testing/extents_disk.h"

namespace vmferry::image {
namespace {

using testing::ExtentsDisk;

std::vector<Extent> WalkAll(const DiskImage& disk) {
  ExtentWalk walk(disk);
  std::vector<Extent> all;
  while (true) {
    const auto next = walk.Next();
    EXPECT_TRUE(next.has_value());
    if (!next || !*next) return all;
    all.push_back(**next);
  }
}

TEST(ExtentWalk, JoinsWhatWindowsCut) {
  // Longer than the largest window, and cut at no window's end.
  const std::vector<Extent> extents = {{0, 100 * kGiB + 512, ExtentKind::kHole},
                                       {100 * kGiB + 512, 40 * kGiB, ExtentKind::kData},
                                       {140 * kGiB + 512, 512, ExtentKind::kZero},
                                       {140 * kGiB + 1024, 15 * kTiB, ExtentKind::kHole}};
  EXPECT_EQ(WalkAll(ExtentsDisk(extents)), extents);
}

TEST(ExtentWalk, FinelyDividedDisksComeWhole) {
  std::vector<Extent> extents;
  for (std::uint64_t i = 0; i < 30'000; ++i) {
    extents.push_back({i * 4096, 4096, i % 2 == 0 ? ExtentKind::kData : ExtentKind::kHole});
  }
  EXPECT_EQ(WalkAll(ExtentsDisk(extents)), extents);
}

TEST(ExtentWalk, AnEmptyDiskHasNone) { EXPECT_TRUE(WalkAll(ExtentsDisk({})).empty()); }

TEST(ExtentWalk, NothingComesBehindTheEnd) {
  const ExtentsDisk disk({{0, 512, ExtentKind::kData}});
  ExtentWalk walk(disk);
  EXPECT_TRUE(walk.Next()->has_value());
  EXPECT_FALSE(walk.Next()->has_value());
  EXPECT_FALSE(walk.Next()->has_value());
}

}  // namespace
}  // namespace vmferry::image
