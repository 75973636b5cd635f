// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "region/ebs/quota.h"
#include "region/ebs/token.h"
#include "testing/fake_clock.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"

namespace vmferry::region::ebs {
namespace {

constexpr std::string_view kSnapshot = "snap-0123456789abcdef0";

TEST(Tokens, AreForOneBlockOfOneSnapshotUntilTheyExpire) {
  testing::TempDir folder;
  testing::FakeRandom random(3);
  auto database = Database::Open(folder.path() / "region.db");
  ASSERT_TRUE(database);
  const auto tokens = Tokens::Open(**database, random);
  ASSERT_TRUE(tokens);
  const std::string token = tokens->Make(TokenKind::kBlock, kSnapshot, 77, 1000);
  EXPECT_LE(token.size(), 256U);
  EXPECT_EQ(tokens->Check(TokenKind::kBlock, kSnapshot, token, 999), 77U);
  EXPECT_FALSE(tokens->Check(TokenKind::kBlock, kSnapshot, token, 1000));
  EXPECT_FALSE(tokens->Check(TokenKind::kPage, kSnapshot, token, 999));
  EXPECT_FALSE(tokens->Check(TokenKind::kBlock, "snap-0123456789abcdef1", token, 999));
  for (std::size_t i = 0; i < token.size(); i += 7) {
    std::string forged = token;
    forged[i] = forged[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(tokens->Check(TokenKind::kBlock, kSnapshot, forged, 999)) << i;
  }
  // Tokens of an earlier run of the region hold.
  const auto again = Tokens::Open(**database, random);
  EXPECT_EQ(again->Check(TokenKind::kBlock, kSnapshot, token, 999), 77U);
}

TEST(Quota, LetsPassOneSecondsWorthAndRefills) {
  testing::FakeClock clock;
  Quota quota(clock, true);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(quota.Take("PutSnapshotBlock", kSnapshot)) << i;
  const auto refused = quota.Take("PutSnapshotBlock", kSnapshot);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 400);
  EXPECT_NE(refused->body.find("ACCOUNT_THROTTLED"), std::string::npos);
  EXPECT_FALSE(quota.Take("GetSnapshotBlock", kSnapshot));  // has its own
  clock.Advance(std::chrono::milliseconds(100));
  int passed = 0;
  while (!quota.Take("PutSnapshotBlock", kSnapshot)) ++passed;
  EXPECT_EQ(passed, 100);
}

TEST(Quota, IsOffUnlessAskedFor) {
  testing::FakeClock clock;
  Quota quota(clock, false);
  for (int i = 0; i < 3000; ++i) EXPECT_FALSE(quota.Take("StartSnapshot", ""));
}

}  // namespace
}  // namespace vmferry::region::ebs
