// SPDX-License-Identifier: Apache-2.0
#include "region/core/signature_v2.h"

#include <gtest/gtest.h>

namespace vmferry::region {
namespace {

// The published example: Amazon S3 User Guide, "Query string request authentication alternative".
TEST(SignatureV2, EqualsThePublishedExample) {
  Call call;
  call.method = "GET";
  call.raw_path = "/photos/puppy.jpg";
  call.query = {{"AWSAccessKeyId", "AKIAIOSFODNN7EXAMPLE"},
                {"Signature", "NpgCjnDzrM+WFzoENXmpNDUsSn8="},
                {"Expires", "1175139620"}};
  const auto claim = ReadUrlSignatureV2(call);
  ASSERT_TRUE(claim);
  const std::string text = StringToSignV2(call, *claim, "johnsmith");
  EXPECT_EQ(text, "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg");
  EXPECT_EQ(SignV2(text, Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")), claim->signature);
}

TEST(SignatureV2, CoversSubResourcesAndAmazonHeaders) {
  Call call;
  call.method = "PUT";
  call.raw_path = "/b/k";
  call.headers = {{"content-type", "text/plain"}, {"x-amz-meta-b", "2"}, {"x-amz-meta-a", "1"}};
  call.query = {{"uploadId", "u"},  {"partNumber", "1"}, {"AWSAccessKeyId", "k"}, {"Expires", "5"},
                {"Signature", "s"}, {"other", "x"},      {"uploads", ""}};
  EXPECT_EQ(StringToSignV2(call, *ReadUrlSignatureV2(call), ""),
            "PUT\n\ntext/plain\n5\nx-amz-meta-a:1\nx-amz-meta-b:2\n"
            "/b/k?partNumber=1&uploadId=u&uploads");
  call.query[3].second = "soon";
  EXPECT_FALSE(ReadUrlSignatureV2(call));
}

}  // namespace
}  // namespace vmferry::region
