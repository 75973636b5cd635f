// SPDX-License-Identifier: Apache-2.0
#include "http/certificate.h"

#include <gtest/gtest.h>

namespace vmferry::http {
namespace {

constexpr WallTime kNow{std::chrono::seconds(1'800'000'000)};
const std::vector<std::string> kNames = {"localhost", "*.s3.us-east-1.amazonaws.com"};

TEST(Certificate, IsIssuedForItsNamesAndTime) {
  const auto authority = MakeAuthority("test authority", kNow);
  ASSERT_TRUE(authority) << authority.error().ToString();
  const auto server =
      IssueServerCertificate(*authority, kNames, std::vector<std::string>{"127.0.0.1"}, kNow);
  ASSERT_TRUE(server) << server.error().ToString();
  const auto usable = [&](const std::vector<std::string>& names, WallTime when, int days) {
    return IsUsable(server->certificate, authority->certificate, names, when, days);
  };
  EXPECT_TRUE(usable(kNames, kNow, 30));
  EXPECT_TRUE(usable({"bucket.s3.us-east-1.amazonaws.com"}, kNow, 30));
  EXPECT_FALSE(usable({"*.s3.eu-west-1.amazonaws.com"}, kNow, 30));
  EXPECT_FALSE(usable(kNames, kNow, 397));
  EXPECT_FALSE(usable(kNames, kNow - std::chrono::hours(25), 30));
  const auto other = MakeAuthority("test authority", kNow);
  EXPECT_FALSE(IsUsable(server->certificate, other->certificate, kNames, kNow, 30));
  EXPECT_FALSE(IsUsable("nonsense", authority->certificate, kNames, kNow, 30));
}

TEST(Certificate, NeedsAReadableAuthority) {
  const auto made = IssueServerCertificate({"nonsense", Secret("nonsense")}, kNames, {}, kNow);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().reason(), "http.tls.bad_pem");
}

}  // namespace
}  // namespace vmferry::http
