// SPDX-License-Identifier: Apache-2.0
#include "region/core/host_name.h"

#include <gtest/gtest.h>

namespace vmferry::region {
namespace {

std::string Shown(std::string_view host) {
  const HostName name = ParseHost(host);
  return name.service + "|" + name.region + "|" + name.bucket;
}

TEST(HostName, TellsServiceRegionAndBucket) {
  EXPECT_EQ(Shown("ec2.eu-west-1.amazonaws.com"), "ec2|eu-west-1|");
  EXPECT_EQ(Shown("EC2.us-east-1.Amazonaws.com:443"), "ec2|us-east-1|");
  EXPECT_EQ(Shown("s3.us-east-1.amazonaws.com"), "s3|us-east-1|");
  EXPECT_EQ(Shown("my.bucket.s3.us-east-1.amazonaws.com"), "s3|us-east-1|my.bucket");
  EXPECT_EQ(Shown("b.s3.dualstack.us-east-1.amazonaws.com"), "s3|us-east-1|b");
  EXPECT_EQ(Shown("b.s3-eu-west-1.amazonaws.com"), "s3|eu-west-1|b");
  EXPECT_EQ(Shown("b.s3.amazonaws.com"), "s3||b");
  EXPECT_EQ(Shown("s3.amazonaws.com."), "s3||");
  EXPECT_EQ(Shown("iam.amazonaws.com"), "iam||");
  EXPECT_EQ(Shown("sts.eu-west-1.amazonaws.com"), "sts|eu-west-1|");
  EXPECT_EQ(Shown("b.localhost:8014"), "s3||b");
  EXPECT_EQ(Shown("b.s3.localhost"), "s3||b");
  EXPECT_EQ(Shown("s3.localhost"), "s3||");
}

TEST(HostName, IsNotMisledByBucketsNamedLikeServices) {
  EXPECT_EQ(Shown("ec2.data.s3.us-east-1.amazonaws.com"), "s3|us-east-1|ec2.data");
  EXPECT_EQ(Shown("iam.s3.us-east-1.amazonaws.com"), "s3|us-east-1|iam");
  EXPECT_EQ(Shown("x.s3.y.s3.us-east-1.amazonaws.com"), "s3|us-east-1|x.s3.y");
  EXPECT_EQ(Shown("x.ec2.us-east-1.amazonaws.com"), "||");
}

TEST(HostName, KnowsNothingOfOtherNames) {
  for (const char* host :
       {"", "127.0.0.1:8014", "localhost", "[::1]:1", "example.com", "s3", "amazonaws.com",
        ".amazonaws.com", "kms.us-east-1.amazonaws.com", "s3.us-east-1.amazonaws.com.example"}) {
    EXPECT_EQ(Shown(host), "||") << host;
  }
}

}  // namespace
}  // namespace vmferry::region
