// SPDX-License-Identifier: Apache-2.0
#include "region/import/signature_v2.h"

#include <gtest/gtest.h>

namespace vmferry::region {
namespace {

// The example of the developer guide.
constexpr const char* kUrl =
    "http://johnsmith.s3.amazonaws.com/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&"
    "Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";

TEST(SignatureV2, PublishedExampleFits) {
  const RegionCredentials credentials{
      .account_id = "123456789012",
      .access_key_id = "AKIAIOSFODNN7EXAMPLE",
      .secret_access_key = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")};
  const ObjectName object{"johnsmith", "photos/puppy.jpg"};
  const http::Url url = http::ParseUrl(kUrl).value();
  const WallTime before{std::chrono::seconds(1175139000)};
  EXPECT_TRUE(IsV2Signed(url));
  EXPECT_TRUE(V2SignatureFits(url, object, credentials, before));
  EXPECT_FALSE(V2SignatureFits(url, object, credentials, before + std::chrono::hours(1)));
  http::Url other = url;
  other.path = "/photos/kitten.jpg";
  EXPECT_FALSE(V2SignatureFits(other, object, credentials, before));
  RegionCredentials stranger = credentials;
  stranger.access_key_id = "AKIAIOSFODNN7EXAMPLF";
  EXPECT_FALSE(V2SignatureFits(url, object, stranger, before));
  other = url;
  other.query = "X-Amz-Signature=x";
  EXPECT_FALSE(IsV2Signed(other));
}

}  // namespace
}  // namespace vmferry::region
