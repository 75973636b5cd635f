// SPDX-License-Identifier: Apache-2.0
#include "aws/s3/client.h"

#include <gtest/gtest.h>

#include "aws/s3/bucket_name.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "sigv4/verify.h"
#include "testing/fake_aws_caller.h"

namespace vmferry::aws::s3 {
namespace {

using testing::FakeAwsCaller;

std::string S3Error(std::string_view code) {
  return "<Error><Code>" + std::string(code) + "</Code><Message>m</Message></Error>";
}

class S3ClientTest : public ::testing::Test {
 protected:
  auto Sent(std::size_t index = 0) { return fake_.http.sent().at(index); }
  FakeAwsCaller fake_;
  Client client_{fake_.caller};
};

TEST_F(S3ClientTest, PutSendsChecksumAndTakesItBack) {
  fake_.http.Answer(200, "", {{"ETag", "\"e\""}, {"x-amz-checksum-crc32c", "mnG7TA=="}});
  const auto put =
      client_.PutObject("bucket", "a b/c+d.part0", AsBytes("hello"), {}, fake_.context);
  ASSERT_TRUE(put) << put.error().ToString();
  EXPECT_EQ(put->etag, "\"e\"");
  EXPECT_EQ(put->checksum_crc32c, "mnG7TA==");
  EXPECT_EQ(Sent().method, "PUT");
  EXPECT_EQ(Sent().url.ToString(), "http://127.0.0.1:8014/bucket/a%20b/c%2Bd.part0");
  EXPECT_EQ(Sent().body, "hello");
  EXPECT_EQ(Sent().Header("x-amz-checksum-crc32c"), "mnG7TA==");
  EXPECT_EQ(Sent().Header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  EXPECT_EQ(Sent().Header("content-type"), "application/octet-stream");
  EXPECT_NE(Sent().Header("authorization").find("x-amz-checksum-crc32c"), std::string::npos);
}

TEST_F(S3ClientTest, PutIsRepeatedWhenTheServerStoredOtherBytes) {
  fake_.http.Answer(200, "", {{"x-amz-checksum-crc32c", "AAAAAA=="}});
  fake_.http.Answer(200, "", {{"x-amz-checksum-crc32c", "mnG7TA=="}});
  EXPECT_TRUE(client_.PutObject("bucket", "k", AsBytes("hello"), {}, fake_.context));
  EXPECT_EQ(fake_.http.sent().size(), 2U);
}

TEST_F(S3ClientTest, PutFailsWhenTheServerDoesNotCheck) {
  for (int i = 0; i < 8; ++i) fake_.http.Answer(200);
  const auto put = client_.PutObject("bucket", "k", AsBytes("hello"), {}, fake_.context);
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().reason(), "aws.s3.checksum_mismatch");
  EXPECT_EQ(put.error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(*put.error().FindFact("key"), "k");
}

// The caller's checksum is of what it read; other bytes in memory must not pass.
TEST_F(S3ClientTest, PutSendsTheCallersChecksum) {
  fake_.http.Answer(400, S3Error("BadDigest"));
  for (int i = 1; i < 8; ++i) fake_.http.Answer(400, S3Error("BadDigest"));
  const auto put =
      client_.PutObject("bucket", "k", AsBytes("hello"), {.crc32c = 1U}, fake_.context);
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().reason(), "aws.bad_digest");
  EXPECT_EQ(Sent().Header("x-amz-checksum-crc32c"), "AAAAAQ==");
}

TEST_F(S3ClientTest, HeadReadsSizeAndChecksum) {
  fake_.http.Answer(
      200, "",
      {{"Content-Length", "10485760"}, {"ETag", "\"e\""}, {"x-amz-checksum-crc32c", "mnG7TA=="}});
  const auto info = client_.HeadObject("bucket", "k", fake_.context);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->size_bytes, 10485760U);
  EXPECT_EQ(info->checksum_crc32c, "mnG7TA==");
  EXPECT_EQ(Sent().method, "HEAD");
  EXPECT_EQ(Sent().Header("x-amz-checksum-mode"), "ENABLED");
  fake_.http.Answer(404);
  EXPECT_EQ(client_.HeadObject("bucket", "k", fake_.context).error().code(), ErrorCode::kNotFound);
}

TEST_F(S3ClientTest, GetChecksTheWholeObject) {
  fake_.http.Answer(200, "hellO", {{"x-amz-checksum-crc32c", "mnG7TA=="}});
  fake_.http.Answer(200, "hello", {{"x-amz-checksum-crc32c", "mnG7TA=="}});
  const auto got = client_.GetObject("bucket", "k", {}, fake_.context);
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(got->body, "hello");
  EXPECT_EQ(got->info.size_bytes, 5U);
  EXPECT_EQ(fake_.http.sent().size(), 2U);
}

TEST_F(S3ClientTest, GetDoesNotCompareAChecksumOfChecksums) {
  fake_.http.Answer(200, "hello", {{"x-amz-checksum-crc32c", "AAAAAA==-2"}});
  EXPECT_TRUE(client_.GetObject("bucket", "k", {}, fake_.context));
}

TEST_F(S3ClientTest, GetReadsARange) {
  fake_.http.Answer(206, "ell", {{"Content-Range", "bytes 1-3/5"}});
  const auto got = client_.GetObject("bucket", "k", {.range = ByteRange{1, 3}}, fake_.context);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body, "ell");
  EXPECT_EQ(got->info.size_bytes, 5U);
  EXPECT_EQ(Sent().Header("range"), "bytes=1-3");
  fake_.http.Answer(416, S3Error("InvalidRange"));
  EXPECT_EQ(
      client_.GetObject("bucket", "k", {.range = ByteRange{9, 1}}, fake_.context).error().reason(),
      "aws.bad_range");
}

TEST_F(S3ClientTest, GetIsBounded) {
  fake_.http.Answer(200, "hello");
  const auto got = client_.GetObject("bucket", "k", {.limit_bytes = 4}, fake_.context);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), "http.too_large");
}

TEST_F(S3ClientTest, CreateBucketSendsNoBodyInUsEast1) {
  fake_.http.Answer(404);
  fake_.http.Answer(200);
  const auto created = client_.CreateBucket("bucket", fake_.context);
  ASSERT_TRUE(created) << created.error().ToString();
  EXPECT_TRUE(*created);
  EXPECT_EQ(Sent(1).method, "PUT");
  EXPECT_EQ(Sent(1).url.path, "/bucket");
  EXPECT_EQ(Sent(1).body, "");
}

TEST(S3Client, CreateBucketNamesOtherRegions) {
  FakeAwsCaller fake("", "eu-central-1");
  Client client(fake.caller);
  fake.http.Answer(404);
  fake.http.Answer(200);
  ASSERT_TRUE(client.CreateBucket("bucket", fake.context));
  const auto sent = fake.http.sent().at(1);
  EXPECT_EQ(sent.url.ToString(), "https://bucket.s3.eu-central-1.amazonaws.com/");
  EXPECT_EQ(sent.body,
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
            "<LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>");
}

TEST_F(S3ClientTest, CreateBucketKnowsWhoseItIs) {
  fake_.http.Answer(200);  // HEAD finds it
  EXPECT_FALSE(*client_.CreateBucket("bucket", fake_.context));
  fake_.http.Answer(404);
  fake_.http.Answer(409, S3Error("BucketAlreadyOwnedByYou"));
  EXPECT_FALSE(*client_.CreateBucket("bucket", fake_.context));
  fake_.http.Answer(403);
  fake_.http.Answer(409, S3Error("BucketAlreadyExists"));
  const auto taken = client_.CreateBucket("bucket", fake_.context);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().reason(), "aws.bucket_taken");
  EXPECT_EQ(*taken.error().FindFact("bucket"), "bucket");
}

TEST_F(S3ClientTest, DeletesOneObjectOrTheBucket) {
  fake_.http.Answer(204);
  fake_.http.Answer(204);
  fake_.http.Answer(409, S3Error("BucketNotEmpty"));
  ASSERT_TRUE(client_.DeleteObject("bucket", "a/b", fake_.context));
  ASSERT_TRUE(client_.DeleteBucket("bucket", fake_.context));
  EXPECT_EQ(client_.DeleteBucket("bucket", fake_.context).error().reason(), "aws.bucket_not_empty");
  EXPECT_EQ(Sent(0).method + Sent(0).url.path, "DELETE/bucket/a/b");
  EXPECT_EQ(Sent(1).method + Sent(1).url.path, "DELETE/bucket");
}

TEST_F(S3ClientTest, DeleteObjectsSendsBatchesAndReportsKeys) {
  std::vector<std::string> keys;
  for (int i = 0; i < 1001; ++i) keys.push_back("k<" + std::to_string(i));
  fake_.http.Answer(200,
                    "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Error><Key>"
                    "k&lt;7</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
                    "</DeleteResult>");
  fake_.http.Answer(200, "<DeleteResult/>");
  const auto failures = client_.DeleteObjects("bucket", keys, fake_.context);
  ASSERT_TRUE(failures) << failures.error().ToString();
  ASSERT_EQ(failures->size(), 1U);
  EXPECT_EQ(failures->at(0).key, "k<7");
  EXPECT_EQ(failures->at(0).error.reason(), "aws.access_denied");
  EXPECT_EQ(Sent(0).url.query, "delete=");
  EXPECT_EQ(Sent(0).Header("content-md5"), codec::Base64Encode(codec::Md5(AsBytes(Sent(0).body))));
  EXPECT_NE(Sent(0).body.find("<Key>k&lt;999</Key>"), std::string::npos);
  EXPECT_EQ(Sent(0).body.find("<Key>k&lt;1000</Key>"), std::string::npos);
  EXPECT_NE(Sent(1).body.find("<Key>k&lt;1000</Key>"), std::string::npos);
}

TEST_F(S3ClientTest, ListsPageByPage) {
  fake_.http.Answer(200,
                    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                    "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
                    "<NextContinuationToken>t+1/=</NextContinuationToken><Contents><Key>p/a+b%2B"
                    "</Key><Size>3</Size><ETag>\"e\"</ETag><LastModified>2026-01-01T00:00:00.000Z"
                    "</LastModified></Contents></ListBucketResult>");
  fake_.http.Answer(200,
                    "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>p/c</Key>"
                    "<Size>0</Size></Contents></ListBucketResult>");
  std::vector<std::string> keys;
  ASSERT_TRUE(client_.ForEachObject(
      "bucket", "p/",
      [&](const ListedObject& object) -> Result<void> {
        keys.push_back(object.key);
        return {};
      },
      fake_.context));
  EXPECT_EQ(keys, (std::vector<std::string>{"p/a b+", "p/c"}));
  EXPECT_EQ(Sent(0).url.query, "list-type=2&encoding-type=url&max-keys=1000&prefix=p%2F");
  EXPECT_TRUE(Sent(1).url.query.ends_with("&continuation-token=t%2B1%2F%3D"));
}

TEST_F(S3ClientTest, DoesNotListForEver) {
  for (int i = 0; i < 2; ++i) {
    fake_.http.Answer(200,
                      "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t"
                      "</NextContinuationToken></ListBucketResult>");
  }
  const auto listed = client_.ForEachObject(
      "bucket", "", [](const ListedObject&) -> Result<void> { return {}; }, fake_.context);
  ASSERT_FALSE(listed);
  EXPECT_EQ(listed.error().reason(), "aws.bad_response");
}

// aws-reference 5.3: the published pre-signed GET, with our clock set to its moment.
TEST(S3Client, PresignsThePublishedUrl) {
  FakeAwsCaller fake("");
  testing::FakeClock clock(*sigv4::ParseAmzDate("20130524T000000Z"));
  Config config = FakeAwsCaller::MakeConfig("", "us-east-1");
  config.endpoints.Replace(Service::kS3, *http::ParseUrl("https://s3.amazonaws.com"));
  Caller caller(fake.http, clock, fake.random, fake.log, config);
  const auto url =
      Client(caller).PresignedUrl("GET", "examplebucket", "test.txt", std::chrono::seconds(86400));
  ASSERT_TRUE(url);
  EXPECT_TRUE(url->starts_with("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm="));
  EXPECT_TRUE(url->ends_with(
      "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
}

TEST_F(S3ClientTest, PresignedUrlsDifferByMethodAndVerify) {
  std::vector<std::string> urls;
  for (const char* method : {"GET", "HEAD", "DELETE"}) {
    const auto text = client_.PresignedUrl(method, "bucket", "a b", std::chrono::seconds(604800));
    ASSERT_TRUE(text);
    const auto url = http::ParseUrl(*text);
    ASSERT_TRUE(url);
    EXPECT_EQ(url->path, "/bucket/a%20b");
    const std::vector<sigv4::Header> headers = {{"Host", url->HostHeader()}};
    const sigv4::RequestView view = {method, url->path, url->query, headers,
                                     sigv4::kUnsignedPayload};
    const auto claim = sigv4::ParseClaim(view);
    ASSERT_TRUE(claim) << claim.error().ToString();
    EXPECT_EQ(
        sigv4::ComputeSignature(*claim, view, fake_.caller.config().credentials.secret_access_key,
                                sigv4::S3Options())
            .signature,
        claim->signature);
    urls.push_back(*text);
  }
  EXPECT_NE(urls[0], urls[1]);
  EXPECT_NE(urls[0], urls[2]);
  for (const int seconds : {0, -1, 604801}) {
    EXPECT_EQ(
        client_.PresignedUrl("GET", "bucket", "k", std::chrono::seconds(seconds)).error().reason(),
        "aws.bad_expiry");
  }
}

TEST(S3Client, AddressesBucketsByHostOrPath) {
  const auto url = [](std::string_view endpoint, const std::string& bucket) {
    FakeAwsCaller fake(endpoint);
    fake.http.Answer(200);
    EXPECT_TRUE(Client(fake.caller).HeadBucket(bucket, fake.context));
    return fake.http.sent().at(0).url.ToString();
  };
  EXPECT_EQ(url("", "bucket"), "https://bucket.s3.us-east-1.amazonaws.com/");
  EXPECT_EQ(url("", "a.bucket"), "https://s3.us-east-1.amazonaws.com/a.bucket");
  EXPECT_EQ(url("http://localhost:1/base/", "bucket"), "http://localhost:1/base/bucket");
  EXPECT_EQ(url("http://[::1]:1", "bucket"), "http://[::1]:1/bucket");
  EXPECT_EQ(url("http://10.0.0.1:1", "bucket"), "http://10.0.0.1:1/bucket");
  EXPECT_EQ(url("https://storage.example", "bucket"), "https://bucket.storage.example/");
}

TEST_F(S3ClientTest, ChecksTheBucketNameBeforeAnyCall) {
  EXPECT_EQ(client_.CreateBucket("evil.example/", fake_.context).error().reason(),
            "aws.bucket_invalid");
  EXPECT_EQ(client_.PutObject("UPPER", "k", {}, {}, fake_.context).error().reason(),
            "aws.bucket_invalid");
  EXPECT_TRUE(fake_.http.sent().empty());
}

TEST(CheckBucketName, FollowsTheRules) {
  for (const char* good : {"abc", "my-migrations-2026", "a.b.c", "0ab", "1.2.3.4a"}) {
    EXPECT_TRUE(CheckBucketName(good)) << good;
  }
  for (const std::string& bad :
       {std::string(""), std::string("ab"), std::string(64, 'a'), std::string("Abc"),
        std::string("a_b"), std::string("-abc"), std::string("abc-"), std::string("a..b"),
        std::string("192.168.5.4"), std::string("xn--abc"), std::string("sthree-a"),
        std::string("abc-s3alias"), std::string("abc--ol-s3"), std::string("abc.mrap"),
        std::string("abc--x-s3"), std::string("a/b"), std::string("a@b"), std::string("a\nb")}) {
    EXPECT_FALSE(CheckBucketName(bad)) << bad;
  }
}

}  // namespace
}  // namespace vmferry::aws::s3
