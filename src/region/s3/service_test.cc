// SPDX-License-Identifier: Apache-2.0
#include "region/s3/service.h"

#include <gtest/gtest.h>

#include "codec/digest.h"
#include "codec/text_codec.h"
#include "region/core/payload_digest.h"
#include "testing/fake_clock.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

std::string Base64(std::string_view raw) {
  return codec::Base64Encode(std::as_bytes(std::span(raw)));
}

std::string CodeOf(const Answer& answer) {
  const auto document = text::ParseXml(answer.body);
  return document ? document->TextAt("Code") : std::to_string(answer.status);
}

std::string HeaderOf(const Answer& answer, std::string_view name) {
  for (const auto& [key, value] : answer.headers) {
    if (key == name) return value;
  }
  return "(none)";
}

class S3ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.folder = folder_.path();
    settings_.account_id = "123456789012";
    Open();
  }

  /// Opens, or opens anew as after a kill.
  void Open() {
    service_.reset();
    context_.reset();
    faults_.reset();
    database_.reset();
    database_ = std::move(Database::Open(folder_ / "region.db")).value();
    faults_ = std::move(FaultRules::Open(*database_)).value();
    context_.emplace(Context{clock_, random_, log_, *database_, settings_, *faults_});
    service_ = std::move(S3Service::Open(*context_)).value();
  }

  /// As the gateway would: "PUT", "/bucket/key", query and headers, payload.
  Answer Do(std::string_view method, std::string_view path, std::vector<NameValue> query = {},
            std::vector<NameValue> headers = {}, std::string_view payload = "") {
    Call call;
    call.method = method;
    call.path = call.raw_path = path;
    call.query = std::move(query);
    call.headers = std::move(headers);
    call.host = "127.0.0.1:8014";
    call.service = "s3";
    call.request_id = "ID";
    PayloadDigester digester;
    for (const ChecksumKind kind :
         {ChecksumKind::kMd5, ChecksumKind::kSha256, ChecksumKind::kSha1, ChecksumKind::kCrc32,
          ChecksumKind::kCrc32c, ChecksumKind::kCrc64nvme}) {
      digester.Want(kind);
    }
    digester.Update(std::as_bytes(std::span(payload)));
    call.payload.digests = digester.Finish();
    call.payload.memory = payload;
    call.payload.size_bytes = payload.size();
    call.operation = service_->OperationOf(call);
    return service_->Handle(call);
  }

  std::string Body(const Answer& answer) {
    if (!answer.file) return answer.body;
    std::string content(static_cast<std::size_t>(answer.file->length_bytes), '\0');
    EXPECT_TRUE(answer.file->file->ReadAt(answer.file->offset_bytes,
                                          std::as_writable_bytes(std::span(content))));
    return content;
  }

  /// Keys and, in brackets, common prefixes of a listing.
  std::vector<std::string> List(std::vector<NameValue> query) {
    query.emplace_back("list-type", "2");
    const Answer answer = Do("GET", "/bkt", std::move(query));
    const auto document = text::ParseXml(answer.body);
    std::vector<std::string> names;
    if (!document) return {"(no XML)"};
    for (const text::XmlElement& child : document->children) {
      if (child.name == "Contents") names.push_back(child.TextAt("Key"));
      if (child.name == "CommonPrefixes") names.push_back("[" + child.TextAt("Prefix") + "]");
      if (child.name == "NextContinuationToken") token_ = child.text;
    }
    if (document->TextAt("IsTruncated") == "true") names.emplace_back("...");
    return names;
  }

  void MakeBucket() { ASSERT_EQ(Do("PUT", "/bkt").status, 200); }

  testing::TempDir folder_;
  testing::FakeClock clock_;
  testing::FakeRandom random_{7};
  NullLog log_;
  Settings settings_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<FaultRules> faults_;
  std::optional<Context> context_;
  std::unique_ptr<S3Service> service_;
  std::string token_;
};

using Strings = std::vector<std::string>;

TEST_F(S3ServiceTest, MakesFindsAndRemovesBuckets) {
  MakeBucket();
  EXPECT_EQ(Do("PUT", "/bkt").status, 200);  // us-east-1: once more is no error
  EXPECT_EQ(HeaderOf(Do("HEAD", "/bkt"), "x-amz-bucket-region"), "us-east-1");
  EXPECT_NE(Do("GET", "/").body.find("<Name>bkt</Name>"), std::string::npos);
  EXPECT_EQ(Do("PUT", "/bkt/k", {}, {}, "x").status, 200);
  EXPECT_EQ(CodeOf(Do("DELETE", "/bkt")), "BucketNotEmpty");
  EXPECT_EQ(Do("DELETE", "/bkt/k").status, 204);
  EXPECT_EQ(Do("DELETE", "/bkt").status, 204);
  EXPECT_EQ(CodeOf(Do("DELETE", "/bkt")), "NoSuchBucket");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/k", {}, {}, "x")), "NoSuchBucket");
  EXPECT_EQ(Do("HEAD", "/bkt").status, 404);
}

TEST_F(S3ServiceTest, RefusesBadAndForeignBucketNames) {
  for (const char* name : {"ab", "Upper", "a..b", "-ab", "192.168.0.1", "xn--abc", "a_b"}) {
    EXPECT_EQ(CodeOf(Do("PUT", std::string("/") + name)), "InvalidBucketName") << name;
  }
  FaultRule rule;
  rule.operation = "taken";
  rule.kind = FaultKind::kForeignBucket;
  rule.remaining = -1;
  ASSERT_TRUE(faults_->Add(rule));
  EXPECT_EQ(CodeOf(Do("PUT", "/taken")), "BucketAlreadyExists");
  EXPECT_EQ(CodeOf(Do("GET", "/taken")), "AccessDenied");
}

TEST_F(S3ServiceTest, ChecksLocationConstraints) {
  const auto body = [](std::string_view location) {
    return "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
           "<LocationConstraint>" +
           std::string(location) + "</LocationConstraint></CreateBucketConfiguration>";
  };
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt", {}, {}, body("us-east-1"))), "InvalidLocationConstraint");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt", {}, {}, body("eu-west-1"))),
            "IllegalLocationConstraintException");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt", {}, {}, "<nonsense")), "MalformedXML");
  settings_.region_name = "eu-west-1";
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt")), "IllegalLocationConstraintException");
  EXPECT_EQ(Do("PUT", "/bkt", {}, {}, body("eu-west-1")).status, 200);
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt", {}, {}, body("eu-west-1"))), "BucketAlreadyOwnedByYou");
}

TEST_F(S3ServiceTest, ReturnsWhatWasPutAlsoAfterARestart) {
  MakeBucket();
  const Answer put = Do("PUT", "/bkt/a/b", {},
                        {{"content-type", "text/plain"},
                         {"x-amz-meta-color", "red"},
                         {"content-encoding", "aws-chunked,gzip"}},
                        "hello");
  EXPECT_EQ(HeaderOf(put, "ETag"), "\"5d41402abc4b2a76b9719d911017c592\"");
  Open();
  const Answer got = Do("GET", "/bkt/a/b");
  EXPECT_EQ(Body(got), "hello");
  EXPECT_EQ(HeaderOf(got, "Content-Type"), "text/plain");
  EXPECT_EQ(HeaderOf(got, "x-amz-meta-color"), "red");
  EXPECT_EQ(HeaderOf(got, "Content-Encoding"), "gzip");
  EXPECT_EQ(HeaderOf(got, "Last-Modified"), "Thu, 01 Jan 2026 00:00:00 GMT");
  const Answer head = Do("HEAD", "/bkt/a/b");
  EXPECT_EQ(head.announced_length_bytes, 5U);
  EXPECT_EQ(CodeOf(Do("GET", "/bkt/a")), "NoSuchKey");
}

TEST_F(S3ServiceTest, ReplacesAndLeavesNoFileBehind) {
  MakeBucket();
  Do("PUT", "/bkt/k", {}, {}, "one");
  Do("PUT", "/bkt/k", {}, {}, "two");
  EXPECT_EQ(Body(Do("GET", "/bkt/k")), "two");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "objects")) {
    if (entry.is_regular_file()) ++files;
  }
  EXPECT_EQ(files, 1U);
}

TEST_F(S3ServiceTest, VerifiesChecksums) {
  MakeBucket();
  struct Case {
    const char* header;
    std::string value;
    const char* outcome;
  };
  const Case cases[] = {
      {"content-md5", "XUFAKrxLKna5cZ2REBfFkg==", "200"},
      {"content-md5", "XUFAKrxLKna5cZ2REBfFkQ==", "BadDigest"},
      {"content-md5", "nonsense", "InvalidDigest"},
      {"x-amz-checksum-crc32", "NhCmhg==", "200"},
      {"x-amz-checksum-crc32c", "mnG7TA==", "200"},
      {"x-amz-checksum-crc64nvme", "M3eFcAZSQlc=", "200"},
      {"x-amz-checksum-sha1", "qvTGHdzF6KLavt4PO0gs2a6pQ00=", "200"},
      {"x-amz-checksum-sha256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "200"},
      {"x-amz-checksum-crc32c", "mnG7TQ==", "BadDigest"},
      {"x-amz-checksum-crc32c", "mnG7", "InvalidRequest"},
      {"x-amz-checksum-xxhash3", "AAAA", "NotImplemented"},
  };
  for (const Case& one : cases) {
    const Answer answer = Do("PUT", "/bkt/k", {}, {{one.header, one.value}}, "hello");
    EXPECT_EQ(CodeOf(answer), one.outcome) << one.header << " " << one.value;
  }
  Do("PUT", "/bkt/k", {}, {{"x-amz-checksum-crc32c", "mnG7TA=="}}, "hello");
  const Answer got = Do("GET", "/bkt/k", {}, {{"x-amz-checksum-mode", "ENABLED"}});
  EXPECT_EQ(HeaderOf(got, "x-amz-checksum-crc32c"), "mnG7TA==");
  EXPECT_EQ(HeaderOf(got, "x-amz-checksum-type"), "FULL_OBJECT");
}

TEST(Crc64Nvme, MatchesTheCheckValueInOneOrManyPieces) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(Crc64Nvme(std::as_bytes(std::span(digits))), 0xae8b14860a799888U);
  std::uint64_t crc = 0;
  for (const char digit : digits) crc = Crc64Nvme(std::as_bytes(std::span(&digit, 1)), crc);
  EXPECT_EQ(crc, 0xae8b14860a799888U);
}

TEST(Crc64Nvme, IsTheSameForAllLengthsAndCuts) {
  std::string text(1000, '\0');
  std::uint64_t state = 1;
  for (char& c : text) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(state >> 56);
  }
  const auto bytes = std::as_bytes(std::span(text));
  for (std::size_t length = 0; length <= text.size(); ++length) {
    std::uint64_t by_byte = 0;  // too short for anything but the tables
    for (std::size_t i = 0; i < length; ++i) by_byte = Crc64Nvme(bytes.subspan(i, 1), by_byte);
    EXPECT_EQ(Crc64Nvme(bytes.first(length)), by_byte) << length;
    const std::uint64_t half = Crc64Nvme(bytes.first(length / 2));
    EXPECT_EQ(Crc64Nvme(bytes.subspan(length / 2, length - length / 2), half), by_byte) << length;
  }
}

TEST_F(S3ServiceTest, SendsRanges) {
  MakeBucket();
  Do("PUT", "/bkt/k", {}, {}, "0123456789");
  const auto range = [&](const char* spec) {
    const Answer answer = Do("GET", "/bkt/k", {}, {{"range", spec}});
    return std::to_string(answer.status) + " " +
           (answer.status < 300 ? Body(answer) : CodeOf(answer));
  };
  EXPECT_EQ(range("bytes=2-4"), "206 234");
  EXPECT_EQ(range("bytes=8-"), "206 89");
  EXPECT_EQ(range("bytes=8-99"), "206 89");
  EXPECT_EQ(range("bytes=-3"), "206 789");
  EXPECT_EQ(range("bytes=-99"), "206 0123456789");
  EXPECT_EQ(range("bytes=10-"), "416 InvalidRange");
  EXPECT_EQ(range("bytes=-0"), "416 InvalidRange");
  for (const char* ignored :
       {"bytes=5-2", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=1-x"}) {
    EXPECT_EQ(range(ignored), "200 0123456789") << ignored;
  }
  EXPECT_EQ(HeaderOf(Do("GET", "/bkt/k", {}, {{"range", "bytes=-3"}}), "Content-Range"),
            "bytes 7-9/10");
}

TEST_F(S3ServiceTest, HonoursConditions) {
  MakeBucket();
  const std::string etag = HeaderOf(Do("PUT", "/bkt/k", {}, {}, "x"), "ETag");
  const std::string date = "Thu, 01 Jan 2026 00:00:00 GMT";
  EXPECT_EQ(Do("GET", "/bkt/k", {}, {{"if-none-match", etag}}).status, 304);
  EXPECT_EQ(Do("GET", "/bkt/k", {}, {{"if-modified-since", date}}).status, 304);
  EXPECT_EQ(Do("GET", "/bkt/k", {}, {{"if-match", etag}}).status, 200);
  EXPECT_EQ(CodeOf(Do("GET", "/bkt/k", {}, {{"if-match", "\"other\""}})), "PreconditionFailed");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/k", {}, {{"if-none-match", "*"}}, "y")), "PreconditionFailed");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/new", {}, {{"if-match", etag}}, "y")), "NoSuchKey");
  EXPECT_EQ(Do("PUT", "/bkt/new", {}, {{"if-none-match", "*"}}, "y").status, 200);
  EXPECT_EQ(Body(Do("GET", "/bkt/k")), "x");
}

TEST_F(S3ServiceTest, ListsByPrefixDelimiterAndPage) {
  MakeBucket();
  for (const char* key : {"a", "b/1", "b/2", "b/3", "b0", "c/1", "\xc3\xa9"}) {
    ASSERT_EQ(Do("PUT", std::string("/bkt/") + key, {}, {}, "x").status, 200);
  }
  EXPECT_EQ(List({}), (Strings{"a", "b/1", "b/2", "b/3", "b0", "c/1", "\xc3\xa9"}));
  EXPECT_EQ(List({{"prefix", "b/"}}), (Strings{"b/1", "b/2", "b/3"}));
  EXPECT_EQ(List({{"delimiter", "/"}}), (Strings{"a", "b0", "\xc3\xa9", "[b/]", "[c/]"}));
  EXPECT_EQ(List({{"start-after", "b/2"}}), (Strings{"b/3", "b0", "c/1", "\xc3\xa9"}));
  EXPECT_EQ(List({{"prefix", "\xc3"}, {"encoding-type", "url"}}), (Strings{"%C3%A9"}));
  EXPECT_EQ(List({{"max-keys", "0"}}), Strings{});
  Strings seen;
  std::vector<NameValue> query = {{"delimiter", "/"}, {"max-keys", "1"}};
  for (int page = 0; page < 9; ++page) {
    Strings names = List(query);
    const bool more = !names.empty() && names.back() == "...";
    if (more) names.pop_back();
    seen.insert(seen.end(), names.begin(), names.end());
    if (!more) break;
    query = {{"delimiter", "/"}, {"max-keys", "1"}, {"continuation-token", token_}};
  }
  EXPECT_EQ(seen, (Strings{"a", "[b/]", "b0", "[c/]", "\xc3\xa9"}));
  EXPECT_EQ(CodeOf(Do("GET", "/bkt", {{"list-type", "2"}, {"continuation-token", "!"}})),
            "InvalidArgument");
}

TEST_F(S3ServiceTest, DeletesManyAtOnce) {
  MakeBucket();
  Do("PUT", "/bkt/a&b", {}, {}, "x");
  const std::string body =
      "<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>gone</Key></Object></Delete>";
  EXPECT_EQ(CodeOf(Do("POST", "/bkt", {{"delete", ""}}, {}, body)), "InvalidRequest");
  const codec::Md5Digest md5 = codec::Md5(std::as_bytes(std::span(body)));
  const Answer answer =
      Do("POST", "/bkt", {{"delete", ""}}, {{"content-md5", codec::Base64Encode(md5)}}, body);
  EXPECT_NE(answer.body.find("<Deleted><Key>a&amp;b</Key></Deleted>"), std::string::npos);
  EXPECT_EQ(List({}), Strings{});
}

TEST_F(S3ServiceTest, JoinsPartsAndShowsCompositeChecksums) {
  MakeBucket();
  const Answer created =
      Do("POST", "/bkt/k", {{"uploads", ""}}, {{"x-amz-checksum-algorithm", "CRC32C"}});
  const std::string id = text::ParseXml(created.body)->TextAt("UploadId");
  const std::string big(5 << 20, 'a');
  std::string list = "<CompleteMultipartUpload>";
  for (const auto& [number, content] : {std::pair<std::string, std::string>("1", big),
                                        std::pair<std::string, std::string>("2", "end")}) {
    PayloadDigester digester;
    digester.Want(ChecksumKind::kCrc32c);
    digester.Update(std::as_bytes(std::span(content)));
    const std::string crc = Base64(digester.Finish().crc32c);
    const Answer part = Do("PUT", "/bkt/k", {{"partNumber", number}, {"uploadId", id}},
                           {{"x-amz-checksum-crc32c", crc}}, content);
    ASSERT_EQ(part.status, 200) << part.body;
    list += "<Part><PartNumber>" + number + "</PartNumber><ETag>" + HeaderOf(part, "ETag") +
            "</ETag><ChecksumCRC32C>" + crc + "</ChecksumCRC32C></Part>";
  }
  list += "</CompleteMultipartUpload>";
  Open();  // parts survive
  const Answer done = Do("POST", "/bkt/k", {{"uploadId", id}}, {}, list);
  ASSERT_EQ(done.status, 200) << done.body;
  EXPECT_TRUE(text::ParseXml(done.body)->TextAt("ETag").ends_with("-2\""));
  EXPECT_TRUE(text::ParseXml(done.body)->TextAt("ChecksumCRC32C").ends_with("-2"));
  EXPECT_EQ(Body(Do("GET", "/bkt/k")), big + "end");
  EXPECT_EQ(CodeOf(Do("POST", "/bkt/k", {{"uploadId", id}}, {}, list)), "NoSuchUpload");
}

TEST_F(S3ServiceTest, RefusesPartsOutOfOrderTooSmallOrUnknown) {
  MakeBucket();
  const std::string id =
      text::ParseXml(Do("POST", "/bkt/k", {{"uploads", ""}}).body)->TextAt("UploadId");
  const std::string etag =
      HeaderOf(Do("PUT", "/bkt/k", {{"partNumber", "1"}, {"uploadId", id}}, {}, "a"), "ETag");
  Do("PUT", "/bkt/k", {{"partNumber", "2"}, {"uploadId", id}}, {}, "a");
  const auto complete = [&](std::initializer_list<const char*> numbers, const std::string& tag) {
    std::string list = "<CompleteMultipartUpload>";
    for (const char* number : numbers) {
      list += std::string("<Part><PartNumber>") + number + "</PartNumber><ETag>" + tag +
              "</ETag></Part>";
    }
    return CodeOf(
        Do("POST", "/bkt/k", {{"uploadId", id}}, {}, list + "</CompleteMultipartUpload>"));
  };
  EXPECT_EQ(complete({"2", "1"}, etag), "InvalidPartOrder");
  EXPECT_EQ(complete({"1", "2"}, etag), "EntityTooSmall");
  EXPECT_EQ(complete({"3"}, etag), "InvalidPart");
  EXPECT_EQ(complete({"1"}, "\"other\""), "InvalidPart");
  EXPECT_EQ(complete({}, etag), "MalformedXML");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/k", {{"partNumber", "10001"}, {"uploadId", id}}, {}, "a")),
            "InvalidArgument");
  EXPECT_EQ(CodeOf(Do("DELETE", "/bkt")), "BucketNotEmpty");
  EXPECT_EQ(Do("DELETE", "/bkt/k", {{"uploadId", id}}).status, 204);
  EXPECT_EQ(CodeOf(Do("GET", "/bkt/k", {{"uploadId", id}})), "NoSuchUpload");
}

TEST_F(S3ServiceTest, RefusesByNameWhatIsNotModelled) {
  MakeBucket();
  const Answer policy = Do("PUT", "/bkt", {{"policy", ""}}, {}, "{}");
  EXPECT_EQ(policy.status, 501);
  EXPECT_NE(policy.body.find("PutBucketPolicy"), std::string::npos);
  EXPECT_EQ(CodeOf(Do("GET", "/bkt", {{"policy", ""}})), "NoSuchBucketPolicy");
  EXPECT_EQ(Do("PUT", "/bkt", {{"versioning", ""}}, {}, "<x/>").status, 501);
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt", {{"acl", ""}})), "AccessControlListNotSupported");
  EXPECT_EQ(Do("PUT", "/bkt/k", {}, {{"x-amz-server-side-encryption", "aws:kms"}}, "x").status,
            501);
  EXPECT_EQ(CodeOf(Do("PATCH", "/bkt/k")), "MethodNotAllowed");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/" + std::string(1025, 'k'), {}, {}, "x")), "KeyTooLongError");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/\xff", {}, {}, "x")), "InvalidURI");
}

TEST_F(S3ServiceTest, GivesObjectsWithoutAChecksumOne) {
  MakeBucket();
  EXPECT_EQ(HeaderOf(Do("PUT", "/bkt/k", {}, {}, "hello"), "x-amz-checksum-crc64nvme"),
            "M3eFcAZSQlc=");
  const Answer got = Do("GET", "/bkt/k", {}, {{"x-amz-checksum-mode", "ENABLED"}});
  EXPECT_EQ(HeaderOf(got, "x-amz-checksum-crc64nvme"), "M3eFcAZSQlc=");
}

TEST(CombineCrc, EqualsTheCrcOfTheWhole) {
  const std::string text = "The quick brown fox jumps over the lazy dog";
  for (const ChecksumKind kind :
       {ChecksumKind::kCrc32, ChecksumKind::kCrc32c, ChecksumKind::kCrc64nvme}) {
    const auto digest = [&](std::string_view part) {
      PayloadDigester digester;
      digester.Want(kind);
      digester.Update(std::as_bytes(std::span(part)));
      return DigestOf(digester.Finish(), kind);
    };
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
      EXPECT_EQ(CombineCrc(kind, digest(text.substr(0, cut)), digest(text.substr(cut)),
                           text.size() - cut),
                digest(text));
    }
  }
  EXPECT_EQ(CombineCrc(ChecksumKind::kMd5, "", "", 0), "");
}

TEST_F(S3ServiceTest, CopiesObjectsWithConditionsAndDirectives) {
  MakeBucket();
  const std::string etag =
      HeaderOf(Do("PUT", "/bkt/a b", {}, {{"content-type", "text/plain"}, {"x-amz-tagging", "t=1"}},
                  "hello"),
               "ETag");
  const auto copy = [&](std::string_view to, std::vector<NameValue> headers) {
    headers.emplace_back("x-amz-copy-source", "bkt/a%20b");
    return Do("PUT", to, {}, std::move(headers));
  };
  const Answer done = copy("/bkt/c", {});
  ASSERT_EQ(done.status, 200) << done.body;
  EXPECT_EQ(text::ParseXml(done.body)->TextAt("ETag"), etag);
  Do("DELETE", "/bkt/a b");
  EXPECT_EQ(Body(Do("GET", "/bkt/c")), "hello");  // its own name for the bytes
  EXPECT_EQ(HeaderOf(Do("GET", "/bkt/c"), "Content-Type"), "text/plain");
  EXPECT_EQ(HeaderOf(Do("GET", "/bkt/c"), "x-amz-tagging-count"), "1");
  EXPECT_EQ(CodeOf(copy("/bkt/d", {})), "NoSuchKey");
  Do("PUT", "/bkt/a b", {}, {}, "hello");
  EXPECT_EQ(CodeOf(copy("/bkt/a b", {})), "InvalidRequest");
  EXPECT_EQ(copy("/bkt/a b", {{"x-amz-metadata-directive", "REPLACE"}}).status, 200);
  EXPECT_EQ(CodeOf(copy("/bkt/d", {{"x-amz-copy-source-if-match", "\"x\""}})),
            "PreconditionFailed");
  EXPECT_EQ(CodeOf(copy("/bkt/d", {{"x-amz-copy-source-if-none-match", etag}})),
            "PreconditionFailed");
  EXPECT_EQ(CodeOf(copy("/bkt/c", {{"if-none-match", "*"}})), "PreconditionFailed");
  const Answer sha = copy("/bkt/d", {{"x-amz-checksum-algorithm", "SHA256"}});
  EXPECT_EQ(text::ParseXml(sha.body)->TextAt("ChecksumSHA256"),
            "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=");
  for (const char* bad : {"", "bkt", "bkt/", "/bkt/k?versionId=1", "nowhere/k", "%zz/k"}) {
    EXPECT_GE(Do("PUT", "/bkt/d", {}, {{"x-amz-copy-source", bad}}).status, 400) << bad;
  }
}

TEST_F(S3ServiceTest, MakesPartsOfCopiesAndReadsThemAgain) {
  MakeBucket();
  const std::string big(5 << 20, 'a');
  Do("PUT", "/bkt/source", {}, {}, big + "tail");
  const std::string id =
      text::ParseXml(Do("POST", "/bkt/k", {{"uploads", ""}}).body)->TextAt("UploadId");
  std::string list = "<CompleteMultipartUpload>";
  const auto part = [&](const char* number, const char* range) {
    const Answer answer =
        Do("PUT", "/bkt/k", {{"partNumber", number}, {"uploadId", id}},
           {{"x-amz-copy-source", "/bkt/source"}, {"x-amz-copy-source-range", range}});
    if (answer.status != 200) return CodeOf(answer);
    list += "<Part><PartNumber>" + std::string(number) + "</PartNumber><ETag>" +
            text::ParseXml(answer.body)->TextAt("ETag") + "</ETag></Part>";
    return std::string("ok");
  };
  EXPECT_EQ(part("1", "bytes=0-5242879"), "ok");
  EXPECT_EQ(part("3", "bytes=5242880-5242883"), "ok");
  EXPECT_EQ(part("4", "bytes=5242880-5242884"), "InvalidArgument");
  EXPECT_EQ(part("4", "bytes=5-"), "InvalidArgument");
  const Answer done =
      Do("POST", "/bkt/k", {{"uploadId", id}}, {}, list + "</CompleteMultipartUpload>");
  ASSERT_EQ(done.status, 200) << done.body;
  PayloadDigester digester;
  digester.Want(ChecksumKind::kCrc64nvme);
  digester.Update(std::as_bytes(std::span(big)));
  digester.Update(std::as_bytes(std::span(std::string_view("tail"))));
  EXPECT_EQ(text::ParseXml(done.body)->TextAt("ChecksumCRC64NVME"),
            Base64(digester.Finish().crc64nvme));
  Open();
  const Answer third = Do("GET", "/bkt/k", {{"partNumber", "3"}});
  EXPECT_EQ(third.status, 206);
  EXPECT_EQ(Body(third), "tail");
  EXPECT_EQ(HeaderOf(third, "Content-Range"), "bytes 5242880-5242883/5242884");
  EXPECT_EQ(HeaderOf(third, "x-amz-mp-parts-count"), "2");
  EXPECT_EQ(CodeOf(Do("GET", "/bkt/k", {{"partNumber", "2"}})), "InvalidPartNumber");
  EXPECT_EQ(CodeOf(Do("GET", "/bkt/k", {{"partNumber", "1"}}, {{"range", "bytes=0-1"}})),
            "InvalidRequest");
  EXPECT_EQ(Do("HEAD", "/bkt/source", {{"partNumber", "1"}}).status, 206);
  // Copied as one object: an MD5 again.
  const Answer copied = Do("PUT", "/bkt/whole", {}, {{"x-amz-copy-source", "/bkt/k"}});
  EXPECT_EQ(text::ParseXml(copied.body)->TextAt("ETag"),
            HeaderOf(Do("HEAD", "/bkt/source"), "ETag"));
}

TEST_F(S3ServiceTest, ListsUploadsByPrefixDelimiterAndPage) {
  MakeBucket();
  for (const char* key : {"a", "a", "b/1", "b/2", "c d"}) {
    ASSERT_EQ(Do("POST", std::string("/bkt/") + key, {{"uploads", ""}}).status, 200);
  }
  const auto list = [&](std::vector<NameValue> query, std::string& key, std::string& id) {
    query.emplace_back("uploads", "");
    query.emplace_back("encoding-type", "url");
    query.emplace_back("key-marker", key);
    query.emplace_back("upload-id-marker", id);
    const auto document = text::ParseXml(Do("GET", "/bkt", std::move(query)).body);
    std::string names;
    for (const auto& child : document->children) {
      if (child.name == "Upload") names += child.TextAt("Key") + " ";
      if (child.name == "CommonPrefixes") names += "[" + child.TextAt("Prefix") + "] ";
    }
    key = document->TextAt("NextKeyMarker");
    id = document->TextAt("NextUploadIdMarker");
    return names;
  };
  std::string key;
  std::string id;
  EXPECT_EQ(list({}, key, id), "a a b/1 b/2 c%20d ");
  EXPECT_EQ(list({{"prefix", "b/"}, {"delimiter", "/"}}, key, id), "b/1 b/2 ");
  std::string all;
  for (int page = 0; page < 6; ++page) {
    all += list({{"delimiter", "/"}, {"max-uploads", "1"}}, key, id);
    if (key.empty()) break;
  }
  EXPECT_EQ(all, "a a [b/] c%20d ");
}

TEST_F(S3ServiceTest, KeepsTags) {
  MakeBucket();
  const auto md5 = [](std::string_view body) {
    return std::vector<NameValue>{
        {"content-md5", codec::Base64Encode(codec::Md5(std::as_bytes(std::span(body))))}};
  };
  const auto put = [&](std::string_view path, const std::string& body) {
    return CodeOf(Do("PUT", path, {{"tagging", ""}}, md5(body), body));
  };
  const auto tag = [](int n) {
    return "<Tag><Key>k" + std::to_string(n) + "</Key><Value>v &amp; w</Value></Tag>";
  };
  const std::string one = "<Tagging><TagSet>" + tag(1) + "</TagSet></Tagging>";
  EXPECT_EQ(put("/bkt/k", one), "NoSuchKey");
  Do("PUT", "/bkt/k", {}, {}, "x");
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/k", {{"tagging", ""}}, {}, one)), "InvalidRequest");
  EXPECT_EQ(put("/bkt/k", one), "200");
  EXPECT_NE(Do("GET", "/bkt/k", {{"tagging", ""}}).body.find(tag(1)), std::string::npos);
  std::string eleven = "<Tagging><TagSet>";
  for (int i = 0; i < 11; ++i) eleven += tag(i);
  eleven += "</TagSet></Tagging>";
  EXPECT_EQ(put("/bkt/k", eleven), "BadRequest");
  EXPECT_EQ(put("/bkt/k", "<Tagging><TagSet>" + tag(1) + tag(1) + "</TagSet></Tagging>"),
            "InvalidTag");
  EXPECT_EQ(CodeOf(Do("GET", "/bkt", {{"tagging", ""}})), "NoSuchTagSet");
  EXPECT_EQ(put("/bkt", eleven), "204");
  EXPECT_NE(Do("GET", "/bkt", {{"tagging", ""}}).body.find(tag(10)), std::string::npos);
  EXPECT_EQ(Do("DELETE", "/bkt/k", {{"tagging", ""}}).status, 204);
  EXPECT_EQ(Do("GET", "/bkt/k", {{"tagging", ""}}).body.find("<Tag>"), std::string::npos);
  EXPECT_EQ(CodeOf(Do("PUT", "/bkt/k", {}, {{"x-amz-tagging", "a=1&a=2"}}, "x")), "InvalidTag");
}

TEST_F(S3ServiceTest, KeepsBucketSettingsWithTheirDefaults) {
  MakeBucket();
  const auto put = [&](const char* kind, const std::string& body) {
    const std::string md5 = codec::Base64Encode(codec::Md5(std::as_bytes(std::span(body))));
    return CodeOf(Do("PUT", "/bkt", {{kind, ""}}, {{"content-md5", md5}}, body));
  };
  const auto get = [&](const char* kind, const char* path) {
    const Answer answer = Do("GET", "/bkt", {{kind, ""}});
    return answer.status == 200 ? text::ParseXml(answer.body)->TextAt(path) : CodeOf(answer);
  };
  const char* algorithm = "Rule/ApplyServerSideEncryptionByDefault/SSEAlgorithm";
  EXPECT_EQ(get("encryption", algorithm), "AES256");
  EXPECT_EQ(get("publicAccessBlock", "BlockPublicPolicy"), "true");
  EXPECT_EQ(get("ownershipControls", "Rule/ObjectOwnership"), "BucketOwnerEnforced");
  EXPECT_EQ(get("lifecycle", "Rule/ID"), "NoSuchLifecycleConfiguration");
  EXPECT_EQ(put("encryption",
                "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>"
                "<SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
                "</ServerSideEncryptionConfiguration>"),
            "NotImplemented");
  EXPECT_EQ(put("publicAccessBlock",
                "<PublicAccessBlockConfiguration><BlockPublicAcls>true"
                "</BlockPublicAcls></PublicAccessBlockConfiguration>"),
            "200");
  EXPECT_EQ(get("publicAccessBlock", "BlockPublicPolicy"), "false");
  EXPECT_EQ(put("ownershipControls",
                "<OwnershipControls><Rule><ObjectOwnership>Nobody"
                "</ObjectOwnership></Rule></OwnershipControls>"),
            "MalformedXML");
  const std::string rule =
      "<Rule><Status>Enabled</Status><Filter><Prefix>a&lt;b</Prefix></Filter>"
      "<Expiration><Days>7</Days></Expiration></Rule>";
  EXPECT_EQ(
      put("lifecycle", "<LifecycleConfiguration>" + rule + rule + "</LifecycleConfiguration>"),
      "200");
  Open();
  EXPECT_EQ(get("lifecycle", "Rule/Filter/Prefix"), "a<b");
  EXPECT_EQ(get("lifecycle", "Rule/ID").size(), 32U);
  EXPECT_EQ(put("lifecycle",
                "<LifecycleConfiguration><Rule><Status>On</Status></Rule>"
                "</LifecycleConfiguration>"),
            "MalformedXML");
  for (const char* kind :
       {"lifecycle", "encryption", "publicAccessBlock", "ownershipControls", "tagging"}) {
    EXPECT_EQ(Do("DELETE", "/bkt", {{kind, ""}}).status, 204);
  }
  EXPECT_EQ(get("encryption", algorithm), "AES256");
  EXPECT_EQ(get("publicAccessBlock", ""), "NoSuchPublicAccessBlockConfiguration");
  EXPECT_EQ(get("ownershipControls", ""), "OwnershipControlsNotFoundError");
  EXPECT_EQ(Do("DELETE", "/bkt").status, 204);
}

TEST_F(S3ServiceTest, RemovesOnlyWhatMatches) {
  MakeBucket();
  const std::string etag = HeaderOf(Do("PUT", "/bkt/k", {}, {}, "x"), "ETag");
  EXPECT_EQ(CodeOf(Do("DELETE", "/bkt/k", {}, {{"if-match", "\"y\""}})), "PreconditionFailed");
  EXPECT_EQ(Do("DELETE", "/bkt/k", {}, {{"if-match", etag}}).status, 204);
  EXPECT_EQ(CodeOf(Do("DELETE", "/bkt/k", {}, {{"if-match", "*"}})), "NoSuchKey");
}

TEST_F(S3ServiceTest, ListsBucketsByPage) {
  for (const char* name : {"aaa", "abb", "bbb"}) Do("PUT", std::string("/") + name);
  const auto names = [&](std::vector<NameValue> query) {
    const Answer answer = Do("GET", "/", std::move(query));
    const auto document = text::ParseXml(answer.body);
    std::string out;
    for (const auto& bucket : document->Find("Buckets")->children)
      out += bucket.TextAt("Name") + " ";
    token_ = document->TextAt("ContinuationToken");
    return out;
  };
  EXPECT_EQ(names({}), "aaa abb bbb ");
  EXPECT_EQ(names({{"max-buckets", "2"}}), "aaa abb ");
  EXPECT_EQ(names({{"max-buckets", "2"}, {"continuation-token", token_}}), "bbb ");
  EXPECT_EQ(token_, "");
  EXPECT_EQ(names({{"prefix", "a"}}), "aaa abb ");
  EXPECT_EQ(names({{"bucket-region", "eu-west-1"}}), "");
  EXPECT_EQ(CodeOf(Do("GET", "/", {{"max-buckets", "0"}})), "InvalidArgument");
}

TEST(Addresses, FollowHostAndPath) {
  const auto address = [](const char* host, const char* path) {
    Call call;
    call.host = host;
    call.path = path;
    const Address found = AddressOf(call);
    return found.bucket + "|" + found.key;
  };
  EXPECT_EQ(address("127.0.0.1:8014", "/b/k/l"), "b|k/l");
  EXPECT_EQ(address("localhost:8014", "/b/../x"), "b|../x");
  EXPECT_EQ(address("b.s3.us-east-1.amazonaws.com", "/k"), "b|k");
  EXPECT_EQ(address("my.b.s3.amazonaws.com", "/k"), "my.b|k");
  EXPECT_EQ(address("s3.us-east-1.amazonaws.com", "/b/k"), "b|k");
  EXPECT_EQ(address("b.localhost:8014", "/k"), "b|k");
}

}  // namespace
}  // namespace vmferry::region::s3
