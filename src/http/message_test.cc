// SPDX-License-Identifier: Apache-2.0
#include "http/message.h"

#include <gtest/gtest.h>

namespace vmferry::http {
namespace {

TEST(Headers, FindWithoutCaseAndSetReplacesAll) {
  Headers headers{{"ETag", "1"}, {"etag", "2"}};
  EXPECT_EQ(headers.Find("ETAG"), "1");
  headers.Set("eTag", "3");
  EXPECT_EQ(headers.fields().size(), 1U);
  EXPECT_EQ(headers.Find("x"), std::nullopt);
}

TEST(ParseUrl, SplitsAndPrintsBack) {
  const auto url = ParseUrl("http://127.0.0.1:8014/bucket/a%20b?X-Amz-Date=1&y=2#part");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "127.0.0.1");
  EXPECT_EQ(url->port, 8014);
  EXPECT_EQ(url->path, "/bucket/a%20b");
  EXPECT_EQ(url->query, "X-Amz-Date=1&y=2");
  EXPECT_EQ(url->ToLogString(), "http://127.0.0.1:8014/bucket/a%20b");
  EXPECT_EQ(ParseUrl("HTTPS://s3.amazonaws.com")->ToString(), "https://s3.amazonaws.com/");
  EXPECT_EQ(ParseUrl("http://[::1]:80/")->HostHeader(), "[::1]");
  EXPECT_EQ(ParseUrl("http://h?q")->path, "/");
}

TEST(ParseUrl, RefusesWhatIsNoHttpUrl) {
  for (const char* text :
       {"", "ftp://h/", "http://", "http://u:p@h/", "http://h:0/", "http://h:99999/", "http://h /",
        "/path", "http://[::1", "http://h:x/"}) {
    const auto url = ParseUrl(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().reason(), "http.bad_url");
  }
}

TEST(Percent, EncodesAndDecodes) {
  EXPECT_EQ(PercentEncode("a b/ü~"), "a%20b%2F%C3%BC~");
  EXPECT_EQ(PercentEncode("a/b", true), "a/b");
  EXPECT_EQ(PercentDecode("a%20b+c"), "a b+c");
  EXPECT_EQ(PercentDecode("a+c", true), "a c");
  EXPECT_EQ(PercentDecode("%zz"), std::nullopt);
  EXPECT_EQ(PercentDecode("%2"), std::nullopt);
}

}  // namespace
}  // namespace vmferry::http
