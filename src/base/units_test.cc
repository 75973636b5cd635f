// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <gtest/gtest.h>

namespace vmferry {
namespace {

TEST(Units, ParsesSizesWithBinaryAndDecimalUnits) {
  EXPECT_EQ(*ParseSize("8MiB"), 8 * kMiB);
  EXPECT_EQ(*ParseSize("200MB"), 200'000'000U);
  EXPECT_EQ(*ParseSize("17"), 17U);
}

TEST(Units, RefusesSizesThatAreNotSizes) {
  for (const char* text : {"", "MiB", "8 MiB", "-1", "8mib", "99999999999TiB", "1.5GiB"}) {
    const auto size = ParseSize(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().reason(), "units.bad_size");
  }
}

TEST(Units, ParsesDurations) {
  EXPECT_EQ(ParseDuration("250ms")->count(), 250);
  EXPECT_EQ(ParseDuration("2h")->count(), 7'200'000);
  EXPECT_FALSE(ParseDuration("2"));
}

TEST(Units, FormatsSizesAndDurations) {
  EXPECT_EQ(FormatSize(2 * kGiB), "2 GiB");
  EXPECT_EQ(FormatSize(2 * kGiB + 200 * kMiB), "2.2 GiB");
  EXPECT_EQ(FormatSize(12), "12 B");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(3725)), "1h02m");
  EXPECT_EQ(FormatDuration(std::chrono::seconds(65)), "1m05s");
}

TEST(Units, TimesSurviveARoundTrip) {
  for (const char* text :
       {"2026-11-22T10:00:00Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z"}) {
    EXPECT_EQ(FormatTime(*ParseTime(text)), text);
  }
  EXPECT_EQ(FormatTime(*ParseTime("2026-11-22T10:00:00.123Z")), "2026-11-22T10:00:00Z");
  for (const char* text : {"", "2026-13-01T00:00:00Z", "2026-11-22 10:00:00Z",
                           "2026-11-22T25:00:00Z", "2026-11-22T10:00:00", "2026-02-30T00:00:00Z",
                           "2913-01-01T00:00:00Z", "1969-12-31T23:59:59Z"}) {
    EXPECT_FALSE(ParseTime(text)) << text;
  }
}

TEST(Units, ArithmeticReportsOverflow) {
  EXPECT_EQ(CheckedMul(1ULL << 40, 1ULL << 40), std::nullopt);
  EXPECT_EQ(CheckedAdd(~0ULL, 1), std::nullopt);
  EXPECT_EQ(DivCeil(~0ULL, 2), 1ULL << 63);
}

}  // namespace
}  // namespace vmferry
