// SPDX-License-Identifier: Apache-2.0
//
// Published S3 and EC2 values, and what a server must refuse.
#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "codec/text_codec.h"
#include "sigv4/chunk.h"
#include "sigv4/sign.h"
#include "sigv4/verify.h"

namespace vmferry::sigv4 {
namespace {

const Credentials kKeys = {.access_key_id = "AKIAIOSFODNN7EXAMPLE",
                           .secret_access_key = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")};

Signing S3Signing() { return {"us-east-1", "s3", *ParseAmzDate("20130524T000000Z"), S3Options()}; }

std::string SignatureOf(const std::vector<Header>& headers) {
  const std::string& value = headers.back().second;
  return value.substr(value.find("Signature=") + 10);
}

TEST(SigningKey, EqualsPublishedValue) {
  EXPECT_EQ(codec::HexEncode(SigningKey(kKeys.secret_access_key, {"20130524", "us-east-1", "s3"})),
            "dbb893acc010964918f1fd433add87c70e8b0db6be30c1fbeafefa5ec6ba8378");
}

TEST(SignHeaders, EqualsPublishedGetObject) {
  const std::vector<Header> headers = {{"host", "examplebucket.s3.amazonaws.com"},
                                       {"range", "bytes=0-9"}};
  EXPECT_EQ(SignatureOf(SignHeaders({"GET", "/test.txt", "", headers, kEmptyPayloadHash}, kKeys,
                                    S3Signing())),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SignHeaders, EqualsPublishedEc2Post) {
  const std::string body = "Action=DescribeRegions&Version=2016-11-15";
  const std::string hash = codec::HexEncode(codec::Sha256(AsBytes(body)));
  EXPECT_EQ(hash, "903451d1f3cda66f6ac7101b5810af53eb3ce6b47c5162b0b2238ce9086b6a0d");
  const std::vector<Header> headers = {
      {"Host", "ec2.us-east-1.amazonaws.com"},
      {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}};
  EXPECT_EQ(SignatureOf(SignHeaders({"POST", "/", "", headers, hash}, kKeys,
                                    {"us-east-1", "ec2", *ParseAmzDate("20150830T123600Z"), {}})),
            "223a34779d21cde479ed0a3d0c9aa27135b3e25f29304d2064616534b8a520cf");
}

TEST(Presign, EqualsPublishedGetObject) {
  const std::vector<Header> headers = {{"host", "examplebucket.s3.amazonaws.com"}};
  const std::string query = Presign({"GET", "/test.txt", "", headers, kUnsignedPayload}, kKeys,
                                    S3Signing(), std::chrono::seconds(86400));
  EXPECT_TRUE(query.ends_with(
      "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"))
      << query;
}

TEST(ChunkSignature, EqualsPublishedUpload) {
  const Scope scope = {"20130524", "us-east-1", "s3"};
  const auto key = SigningKey(kKeys.secret_access_key, scope);
  const std::string data(66560, 'a');
  const auto sign = [&](const std::string& previous, std::size_t begin, std::size_t size) {
    return ChunkSignature(key, "20130524T000000Z", scope, previous,
                          AsBytes(std::string_view(data).substr(begin, size)));
  };
  const std::string first =
      sign("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", 0, 65536);
  EXPECT_EQ(first, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
  const std::string second = sign(first, 65536, 1024);
  EXPECT_EQ(second, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
  EXPECT_EQ(sign(second, 0, 0), "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
}

TEST(TrailerSignature, EqualsPublishedUpload) {
  const Scope scope = {"20130524", "us-east-1", "s3"};
  EXPECT_EQ(TrailerSignature(SigningKey(kKeys.secret_access_key, scope), "20130524T000000Z", scope,
                             "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
                             "x-amz-checksum-crc32c:sOO8/Q==\n"),
            "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435");
}

// S3 keeps what other services normalise, and sees one encoding however it was sent.
TEST(CanonicalPath, FollowsTheService) {
  EXPECT_EQ(CanonicalPath("/a//b/../c%20d!", S3Options()), "/a//b/../c%20d%21");
  EXPECT_EQ(CanonicalPath("/a//b/../c%20d", {}), "/a/c%2520d");
  EXPECT_EQ(CanonicalPath("", {}), "/");
}

TEST(CanonicalQuery, EncodesOnceSortsAndSkips) {
  EXPECT_EQ(CanonicalQuery("b=2&a=&a-=x&a&&c=%2f%zz"), "a=&a=&a-=x&b=2&c=%2F%25zz");
  const std::string_view skip[] = {"b"};
  EXPECT_EQ(CanonicalQuery("%62=1&c", skip), "c=");
}

TEST(AmzDate, RoundTripsAndRefusesTheRest) {
  EXPECT_EQ(FormatAmzDate(*ParseAmzDate("20240229T235959Z")), "20240229T235959Z");
  for (const char* text :
       {"", "20230229T000000Z", "20240101T240000Z", "2024-101T000000Z", "20240101T000000",
        "20240101 000000Z", "20240101T006000Z", "29130519T000000Z", "19691231T235959Z"}) {
    EXPECT_FALSE(ParseAmzDate(text)) << text;
  }
}

constexpr std::string_view kSignature =
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

TEST(ParseAuthorization, AcceptsWithAndWithoutBlanks) {
  for (const char* separator : {", ", ",", " ,\t"}) {
    const std::string text = "AWS4-HMAC-SHA256 Credential=A/20130524/us-east-1/s3/aws4_request" +
                             std::string(separator) + "SignedHeaders=host;x-amz-date" + separator +
                             "Signature=" + std::string(kSignature);
    const auto claim = ParseAuthorization(text, "20130524T000000Z");
    ASSERT_TRUE(claim) << claim.error().ToString();
    EXPECT_EQ(claim->access_key_id, "A");
    EXPECT_TRUE(claim->Signs("host"));
    EXPECT_FALSE(claim->Signs("range"));
  }
}

TEST(ParseAuthorization, RefusesWhatIsMalformed) {
  const std::string credential = "Credential=A/20130524/us-east-1/s3/aws4_request";
  const std::string headers = "SignedHeaders=host";
  const std::string signature = "Signature=" + std::string(kSignature);
  const std::string start = "AWS4-HMAC-SHA256 ";
  const std::string bad[] = {
      "",
      "AWS4-HMAC-SHA256",
      "AWS A:b",
      start + credential,
      start + credential + "," + headers,
      start + credential + "," + headers + "," + signature + "," + signature,
      start + credential + "," + headers + "," + signature + ",",
      start + "Credential=A/20130524/us-east-1/s3," + headers + "," + signature,
      start + "Credential=/20130524/us-east-1/s3/aws4_request," + headers + "," + signature,
      start + credential + ",SignedHeaders=," + signature,
      start + credential + ",SignedHeaders=x;host," + signature,
      start + credential + ",SignedHeaders=host;host," + signature,
      start + credential + "," + headers + ",Signature=abc",
      start + credential + "," + headers + ",Signature=" + std::string(64, 'G'),
  };
  for (const std::string& text : bad) {
    const auto claim = ParseAuthorization(text, "20130524T000000Z");
    ASSERT_FALSE(claim) << text;
    EXPECT_EQ(claim.error().reason(), "sigv4.bad_authorization") << text;
  }
  EXPECT_EQ(ParseAuthorization(start + credential + "," + headers + "," + signature, "yesterday")
                .error()
                .reason(),
            "sigv4.bad_date");
}

TEST(ParsePresignedQuery, RefusesWhatIsMalformed) {
  const std::string good =
      "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20130524%2Fus-east-1%2Fs3%2Faws4_"
      "request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=Host&X-Amz-"
      "Signature=" +
      std::string(kSignature);
  const auto claim = ParsePresignedQuery(good);
  ASSERT_TRUE(claim) << claim.error().ToString();
  EXPECT_TRUE(claim->Signs("host"));  // AWS's own sample manifest writes a capital H
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  for (const std::string& text :
       {std::string(), replaced("604800", "604801"), replaced("604800", "0"),
        replaced("604800", "-1"), replaced("X-Amz-Date", "X-Amz-Dat"), replaced("SHA256", "SHA1"),
        replaced("%2F", "%2"), good + "&X-Amz-Date=20130524T000000Z"}) {
    const auto refused = ParsePresignedQuery(text);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().reason(), "sigv4.bad_query") << text;
  }
}

TEST(ParseClaim, NamesAnUnsignedRequest) {
  const auto claim = ParseClaim({"GET", "/", "list-type=2", {}, kEmptyPayloadHash});
  ASSERT_FALSE(claim);
  EXPECT_EQ(claim.error().reason(), "sigv4.missing");
}

// A server must see that path, query, header, body hash, method or key are not what was signed.
TEST(ComputeSignature, ChangesWithEverythingThatIsSigned) {
  std::vector<Header> headers = {{"host", "h"}, {"x-amz-meta-a", "1"}};
  const auto added =
      SignHeaders({"PUT", "/a", "q=1", headers, kEmptyPayloadHash}, kKeys, S3Signing());
  headers.insert(headers.end(), added.begin(), added.end());
  const RequestView good = {"PUT", "/a", "q=1", headers, kEmptyPayloadHash};
  const auto claim = ParseClaim(good);
  ASSERT_TRUE(claim);
  const auto signature = [&](const RequestView& view, const Secret& secret) {
    return ComputeSignature(*claim, view, secret, S3Options()).signature;
  };
  const Secret& secret = kKeys.secret_access_key;
  EXPECT_EQ(signature(good, secret), claim->signature);
  EXPECT_NE(signature(good, Secret("other")), claim->signature);
  EXPECT_NE(signature({"GET", "/a", "q=1", headers, kEmptyPayloadHash}, secret), claim->signature);
  EXPECT_NE(signature({"PUT", "/b", "q=1", headers, kEmptyPayloadHash}, secret), claim->signature);
  EXPECT_NE(signature({"PUT", "/a", "q=2", headers, kEmptyPayloadHash}, secret), claim->signature);
  EXPECT_NE(signature({"PUT", "/a", "q=1", headers, kUnsignedPayload}, secret), claim->signature);
  std::vector<Header> changed = headers;
  changed[1].second = "2";
  EXPECT_NE(signature({"PUT", "/a", "q=1", changed, kEmptyPayloadHash}, secret), claim->signature);
}

TEST(ConstantTimeEquals, Compares) {
  EXPECT_TRUE(ConstantTimeEquals("abc", "abc"));
  EXPECT_FALSE(ConstantTimeEquals("abc", "abd"));
  EXPECT_FALSE(ConstantTimeEquals("abc", "ab"));
}

}  // namespace
}  // namespace vmferry::sigv4
