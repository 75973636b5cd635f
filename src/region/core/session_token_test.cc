// SPDX-License-Identifier: Apache-2.0
#include "region/core/session_token.h"

#include <gtest/gtest.h>

#include "testing/fake_random.h"

namespace vmferry::region {
namespace {

const RegionCredentials kAccount = {"123456789012", "AKIAEXAMPLE", Secret("secret")};
constexpr WallTime kExpires{std::chrono::seconds(1'800'000'000)};

TEST(SessionToken, CarriesTheSessionAndItsSecret) {
  testing::FakeRandom random(1);
  const Session issued =
      IssueSession(kAccount, "arn:aws:sts::123456789012:assumed-role/r/me", "AROA1:me",
                   "arn:aws:iam::123456789012:role/r", kExpires, random);
  EXPECT_TRUE(issued.access_key_id.starts_with("ASIA"));
  EXPECT_EQ(issued.access_key_id.size(), 20U);
  EXPECT_EQ(issued.secret_access_key.Expose().size(), 40U);
  const auto opened = OpenSession(kAccount, issued.token);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->access_key_id, issued.access_key_id);
  EXPECT_EQ(opened->secret_access_key.Expose(), issued.secret_access_key.Expose());
  EXPECT_EQ(opened->arn, issued.arn);
  EXPECT_EQ(opened->user_id, "AROA1:me");
  EXPECT_EQ(opened->role_arn, issued.role_arn);
  EXPECT_EQ(opened->expires, kExpires);
  const Session second = IssueSession(kAccount, issued.arn, "AROA1:me", "", kExpires, random);
  EXPECT_NE(second.secret_access_key.Expose(), issued.secret_access_key.Expose());
}

TEST(SessionToken, RefusesWhatItDidNotIssue) {
  testing::FakeRandom random(1);
  const Session issued = IssueSession(kAccount, "arn", "id", "", kExpires, random);
  for (std::size_t i = 0; i < issued.token.size(); ++i) {
    std::string changed = issued.token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    const auto opened = OpenSession(kAccount, changed);
    // Bits beyond the last byte carry nothing.
    const bool last_group = i + 4 >= issued.token.size();
    EXPECT_TRUE(!opened || (last_group && opened->access_key_id == issued.access_key_id)) << i;
  }
  EXPECT_FALSE(OpenSession(kAccount, ""));
  EXPECT_FALSE(OpenSession(kAccount, "AAAA"));
  EXPECT_FALSE(OpenSession(kAccount, std::string(5000, 'A')));
  EXPECT_FALSE(OpenSession({"123456789012", "AKIA", Secret("other")}, issued.token));
}

}  // namespace
}  // namespace vmferry::region
