// SPDX-License-Identifier: Apache-2.0
//
// The whole region over HTTP, in this process.
#include "region/control/region.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "http/curl_client.h"
#include "region/control/admin_client.h"
#include "region/control/profile.h"
#include "region/control/region_info.h"
#include "region/control/serve.h"
#include "sigv4/chunk.h"
#include "sigv4/sign.h"
#include "sys/file.h"
#include "sys/process.h"
#include "testing/temp_dir.h"
#include "text/json.h"
#include "text/xml.h"

namespace vmferry::region::control {
namespace {

using std::chrono::seconds;

/// The machine's clock, shifted: for signatures of the past and future.
class ShiftedClock final : public sys::Clock {
 public:
  WallTime WallNow() const override { return real_.WallNow() + shift; }
  MonotonicTime MonotonicNow() const override { return real_.MonotonicNow(); }
  void SleepUntil(MonotonicTime when, std::stop_token stop) override {
    real_.SleepUntil(when, std::move(stop));
  }
  seconds shift{0};

 private:
  sys::SystemClock real_;
};

std::string CodeOf(const http::Response& response) {
  const auto document = text::ParseXml(response.body);
  if (!document) return std::to_string(response.status);
  std::string code = document->TextAt("Code");                     // S3
  if (code.empty()) code = document->TextAt("Error/Code");         // STS, IAM
  if (code.empty()) code = document->TextAt("Errors/Error/Code");  // EC2
  return std::to_string(response.status) + " " + code;
}

class RegionTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(); }
  void Start() {
    RegionOptions options;
    options.folder = folder_.path();
    options.port = 0;
    auto region = Region::Start(options, {clock_, random_, log_});
    ASSERT_TRUE(region) << region.error().ToString();
    region_ = std::move(region).value();
    credentials_.access_key_id = region_->credentials().access_key_id;
    credentials_.secret_access_key = region_->credentials().secret_access_key;
  }

  struct Ask {
    std::string method = "GET";
    std::string path = "/";
    std::string query;
    std::vector<sigv4::Header> headers;
    std::string body;
    std::string service = "s3";
    std::string hash;  ///< instead of the body's
    std::string region = "us-east-1";
    seconds signed_ago{0};
  };

  http::Response Send(const Ask& ask) {
    http::Request request = Unsigned(ask);
    std::vector<sigv4::Header> headers = ask.headers;
    headers.emplace_back("Host", request.url.HostHeader());
    const std::string hash =
        ask.hash.empty() ? codec::HexEncode(codec::Sha256(request.body)) : ask.hash;
    sigv4::Signing signing;
    signing.region = ask.region;
    signing.service = ask.service;
    signing.time = sys::SystemClock().WallNow() - ask.signed_ago;
    if (ask.service == "s3") signing.options = sigv4::S3Options();
    for (const auto& [name, value] : headers) request.headers.Add(name, value);
    for (const auto& [name, value] : sigv4::SignHeaders(
             {ask.method, ask.path, ask.query, headers, hash}, credentials_, signing)) {
      request.headers.Add(name, value);
    }
    return Get(request);
  }

  http::Request Unsigned(const Ask& ask) {
    http::Request request;
    request.method = ask.method;
    request.url.scheme = "http";
    request.url.host = "127.0.0.1";
    request.url.port = region_->port();
    request.url.path = ask.path;
    request.url.query = ask.query;
    request.body = std::as_bytes(std::span(ask.body));
    return request;
  }

  http::Response Get(const http::Request& request) {
    auto response = client_.Send(request, {}, {clock_.DeadlineIn(seconds(20)), {}});
    if (response) return std::move(response).value();
    http::Response failed;
    failed.body = response.error().ToString();
    return failed;
  }

  std::string PresignedQuery(const Ask& ask, seconds expires) {
    const http::Request request = Unsigned(ask);
    const std::vector<sigv4::Header> headers = {{"Host", request.url.HostHeader()}};
    sigv4::Signing signing;
    signing.region = ask.region;
    signing.service = "s3";
    signing.time = sys::SystemClock().WallNow() - ask.signed_ago;
    signing.options = sigv4::S3Options();
    return sigv4::Presign({ask.method, ask.path, ask.query, headers, sigv4::kUnsignedPayload},
                          credentials_, signing, expires);
  }

  std::string LogText() {
    return sys::ReadWholeFile(folder_ / "requests.jsonl", 16 * kMiB).value_or(std::string());
  }

  testing::TempDir folder_;
  ShiftedClock clock_;
  sys::SystemRandom random_;
  NullLog log_;
  http::CurlClient client_{clock_, {}};
  sigv4::Credentials credentials_;
  std::unique_ptr<Region> region_;
};

TEST_F(RegionTest, BelievesOnlyRightSignatures) {
  EXPECT_EQ(Send({}).status, 200);
  EXPECT_EQ(CodeOf(Get(Unsigned({}))), "403 AccessDenied");
  EXPECT_EQ(CodeOf(Send({.signed_ago = seconds(16 * 60)})), "403 RequestTimeTooSkewed");
  EXPECT_EQ(CodeOf(Send({.signed_ago = seconds(-16 * 60)})), "403 RequestTimeTooSkewed");
  EXPECT_EQ(CodeOf(Send({.region = "eu-west-1"})), "400 AuthorizationHeaderMalformed");
  EXPECT_EQ(CodeOf(Send({.service = "mars"})), "501 NotImplemented");
  credentials_.secret_access_key = Secret("wrong");
  const http::Response wrong = Send({});
  EXPECT_EQ(CodeOf(wrong), "403 SignatureDoesNotMatch");
  EXPECT_NE(wrong.body.find("<StringToSign>AWS4-HMAC-SHA256"), std::string::npos);
  EXPECT_EQ(CodeOf(Send({.method = "POST",
                         .body = "Action=GetCallerIdentity&Version=2011-06-15",
                         .service = "sts"})),
            "403 SignatureDoesNotMatch");
  credentials_.access_key_id = "AKIAAAAAAAAAAAAAAAAA";
  EXPECT_EQ(CodeOf(Send({})), "403 InvalidAccessKeyId");
  EXPECT_EQ(CodeOf(Send({.method = "POST", .body = "Action=GetCallerIdentity", .service = "sts"})),
            "403 InvalidClientTokenId");
}

TEST_F(RegionTest, AnswersGetCallerIdentity) {
  const http::Response answer = Send(
      {.method = "POST", .body = "Action=GetCallerIdentity&Version=2011-06-15", .service = "sts"});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(text::ParseXml(answer.body)->TextAt("GetCallerIdentityResult/Account"),
            region_->credentials().account_id);
  EXPECT_EQ(CodeOf(Send({.method = "POST", .body = "Action=GetAccessKeyInfo", .service = "sts"})),
            "501 NotImplemented");
}

TEST_F(RegionTest, KeepsTheRoleOfTheImportService) {
  const auto ask = [&](const std::string& form) {
    return Send({.method = "POST", .body = form + "&Version=2010-05-08", .service = "iam"});
  };
  const std::string trust = http::PercentEncode(
      R"({"Statement": {"Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"},)"
      R"("Action": "sts:AssumeRole"}})");
  const std::string policy = http::PercentEncode(
      R"({"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}})");
  const std::string create = "Action=CreateRole&RoleName=vmimport&AssumeRolePolicyDocument=";
  EXPECT_EQ(CodeOf(ask("Action=GetRole&RoleName=vmimport")), "404 NoSuchEntity");
  EXPECT_EQ(CodeOf(ask(create + "%7B")), "400 MalformedPolicyDocument");
  const http::Response made = ask(create + trust);
  EXPECT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(CodeOf(ask(create + trust)), "409 EntityAlreadyExists");
  const std::string put = "Action=PutRolePolicy&RoleName=vmimport&PolicyName=p&PolicyDocument=";
  EXPECT_EQ(CodeOf(ask(put + "%7B%7D")), "400 MalformedPolicyDocument");
  EXPECT_EQ(ask(put + policy).status, 200);
  const http::Response got = ask("Action=GetRolePolicy&RoleName=vmimport&PolicyName=p");
  EXPECT_EQ(text::ParseXml(got.body)->TextAt("GetRolePolicyResult/PolicyDocument"), policy);
  EXPECT_EQ(CodeOf(ask("Action=DeleteRole&RoleName=vmimport")), "409 DeleteConflict");
  EXPECT_EQ(ask("Action=DeleteRolePolicy&RoleName=vmimport&PolicyName=p").status, 200);
  EXPECT_EQ(CodeOf(ask("Action=DeleteRolePolicy&RoleName=vmimport&PolicyName=p")),
            "404 NoSuchEntity");
  EXPECT_EQ(ask("Action=DeleteRole&RoleName=vmimport").status, 200);
  EXPECT_EQ(CodeOf(ask("Action=CreateUser&UserName=x")), "501 NotImplemented");
}

TEST_F(RegionTest, SessionsOfARoleWorkUntilTheyExpire) {
  const std::string arn = "arn:aws:iam::" + region_->credentials().account_id + ":role/r";
  const std::string trust = http::PercentEncode(
      R"({"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",)"
      R"("Condition": {"StringEquals": {"sts:ExternalId": "id"}}}})");
  Send({.method = "POST",
        .body = "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=" + trust,
        .service = "iam"});
  const std::string assume = "Action=AssumeRole&RoleSessionName=me&DurationSeconds=900&RoleArn=" +
                             http::PercentEncode(arn);
  EXPECT_EQ(CodeOf(Send({.method = "POST", .body = assume, .service = "sts"})), "403 AccessDenied");
  const http::Response answer =
      Send({.method = "POST", .body = assume + "&ExternalId=id", .service = "sts"});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto document = text::ParseXml(answer.body);
  const auto text = [&](const std::string& name) {
    return document->TextAt("AssumeRoleResult/Credentials/" + name);
  };
  credentials_.access_key_id = text("AccessKeyId");
  credentials_.secret_access_key = Secret(text("SecretAccessKey"));
  EXPECT_EQ(CodeOf(Send({})), "403 InvalidAccessKeyId");  // without its token
  credentials_.session_token = Secret(text("SessionToken"));
  EXPECT_EQ(Send({}).status, 200);
  const http::Response who =
      Send({.method = "POST", .body = "Action=GetCallerIdentity", .service = "sts"});
  EXPECT_TRUE(text::ParseXml(who.body)
                  ->TextAt("GetCallerIdentityResult/Arn")
                  .ends_with(":assumed-role/r/me"));
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  Ask url{.path = "/bucket"};
  url.query = PresignedQuery(url, seconds(3600));
  EXPECT_EQ(Get(Unsigned(url)).status, 200);

  const Secret token = credentials_.session_token;
  credentials_.session_token = Secret(std::string(token.Expose()).replace(50, 1, "-"));
  EXPECT_EQ(CodeOf(Send({})), "400 InvalidToken");
  credentials_.session_token = token;
  credentials_.secret_access_key = Secret("wrong");
  EXPECT_EQ(CodeOf(Send({})), "403 SignatureDoesNotMatch");
  credentials_.secret_access_key = Secret(text("SecretAccessKey"));

  clock_.shift = seconds(901);
  EXPECT_EQ(CodeOf(Get(Unsigned(url))), "400 ExpiredToken");
  EXPECT_EQ(CodeOf(Send({.signed_ago = seconds(-901)})), "400 ExpiredToken");
  EXPECT_EQ(CodeOf(Send({.method = "POST",
                         .body = "Action=GetCallerIdentity",
                         .service = "sts",
                         .signed_ago = seconds(-901)})),
            "403 ExpiredToken");
  EXPECT_EQ(CodeOf(Send({.method = "POST",
                         .body = "Action=DescribeRegions&Version=2016-11-15",
                         .service = "ec2",
                         .signed_ago = seconds(-901)})),
            "400 RequestExpired");
}

TEST_F(RegionTest, PresignedUrlsWorkForTheirMethodAndTimeOnly) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket/k%20%2B", .body = "content"}).status, 200);
  Ask ask{.path = "/bucket/k%20%2B"};
  Ask signed_get = ask;
  signed_get.query = PresignedQuery(ask, seconds(60));
  EXPECT_EQ(Get(Unsigned(signed_get)).body, "content");
  signed_get.method = "HEAD";
  EXPECT_EQ(Get(Unsigned(signed_get)).status, 403);
  ask.signed_ago = seconds(61);
  signed_get = ask;
  signed_get.query = PresignedQuery(ask, seconds(60));
  const http::Response expired = Get(Unsigned(signed_get));
  EXPECT_EQ(CodeOf(expired), "403 AccessDenied");
  EXPECT_NE(expired.body.find("Request has expired"), std::string::npos);
  Ask put{.method = "PUT", .path = "/bucket/new", .body = "via URL"};
  put.query = PresignedQuery(put, seconds(60));
  EXPECT_EQ(Get(Unsigned(put)).status, 200);
  Ask remove{.method = "DELETE", .path = "/bucket/new"};
  remove.query = PresignedQuery(remove, seconds(60));
  EXPECT_EQ(Get(Unsigned(remove)).status, 204);
  EXPECT_EQ(LogText().find("X-Amz-Signature"), std::string::npos);
}

TEST_F(RegionTest, ChecksThePayloadHash) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  const std::string other = codec::HexEncode(codec::Sha256(std::as_bytes(std::span("x"))));
  EXPECT_EQ(CodeOf(Send({.method = "PUT", .path = "/bucket/k", .body = "y", .hash = other})),
            "400 XAmzContentSHA256Mismatch");
  EXPECT_EQ(
      Send({.method = "PUT", .path = "/bucket/k", .body = "y", .hash = "UNSIGNED-PAYLOAD"}).status,
      200);
  EXPECT_EQ(CodeOf(Send({.method = "PUT", .path = "/bucket/k", .body = "y", .hash = "nonsense"})),
            "400 InvalidArgument");
}

TEST_F(RegionTest, TakesUnsignedChunksWithATrailer) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  Ask ask{.method = "PUT",
          .path = "/bucket/k",
          .headers = {{"Content-Encoding", "aws-chunked"},
                      {"x-amz-decoded-content-length", "5"},
                      {"x-amz-trailer", "x-amz-checksum-crc32"}},
          .body = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
          .hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"};
  const http::Response put = Send(ask);
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(put.headers.Find("x-amz-checksum-crc32"), "NhCmhg==");
  EXPECT_EQ(Send({.path = "/bucket/k"}).body, "hello");
  ask.body = "5\r\nhellO\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
  EXPECT_EQ(CodeOf(Send(ask)), "400 BadDigest");
  ask.body = "5\r\nhello\r\n";
  EXPECT_EQ(CodeOf(Send(ask)), "400 InvalidRequest");
  ask.body = "4\r\nhell\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
  EXPECT_EQ(CodeOf(Send(ask)), "400 IncompleteBody");
}

TEST_F(RegionTest, SpoolsLargePayloadsAndSendsThemBack) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  std::string body(10 * kMiB + 1, '\0');
  random_.Fill(std::as_writable_bytes(std::span(body)));
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket/big", .body = body}).status, 200);
  EXPECT_TRUE(Send({.path = "/bucket/big"}).body == body);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "spool"));
}

TEST_F(RegionTest, KeepsEverythingAfterACrash) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket/k", .body = "kept"}).status, 200);
  const std::string key = credentials_.access_key_id;
  region_.reset();  // without Stop
  ASSERT_TRUE(sys::WriteWholeFile(folder_ / "spool" / "leftover", "x"));
  Start();
  EXPECT_EQ(credentials_.access_key_id, key);
  EXPECT_EQ(Send({.path = "/bucket/k"}).body, "kept");
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "spool"));
}

TEST_F(RegionTest, LogsEachRequestBeforeItsAnswer) {
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket/k", .body = "12345"}).status, 200);
  const std::string log = LogText();
  const std::size_t line = log.find("\"operation\":\"PutObject\"");
  ASSERT_NE(line, log.npos) << log;
  const auto json = text::Json::Parse(
      log.substr(log.rfind('\n', line) + 1, log.find('\n', line) - log.rfind('\n', line) - 1));
  ASSERT_TRUE(json);
  EXPECT_EQ((*json)["bucket"].AsString(), "bucket");
  EXPECT_EQ((*json)["key"].AsString(), "k");
  EXPECT_EQ((*json)["status"].AsInt(), 200);
  EXPECT_EQ((*json)["request_bytes"].AsInt(), 5);
}

TEST_F(RegionTest, MakesFaultsOnDemand) {
  RegionInfo info;
  info.folder = folder_.path();
  info.port = region_->port();
  info.pid = ::getpid();
  info.start_ticks = sys::ProcessStartTicks(info.pid).value_or(0);
  info.region_name = "us-east-1";
  ASSERT_TRUE(WriteRegionInfo(info));
  AdminClient admin(client_, clock_);
  const OpContext context = {clock_.DeadlineIn(seconds(10)), {}};
  ASSERT_EQ(Send({.method = "PUT", .path = "/bucket"}).status, 200);
  FaultRule rule;
  rule.operation = "PutObject";
  ASSERT_TRUE(admin.AddFault(folder_.path(), rule, context));
  rule.kind = FaultKind::kCut;
  ASSERT_TRUE(admin.AddFault(folder_.path(), rule, context));
  const Ask put{.method = "PUT", .path = "/bucket/k", .body = "x"};
  EXPECT_EQ(CodeOf(Send(put)), "503 SlowDown");
  EXPECT_EQ(admin.ListFaults(folder_.path(), context)->size(), 1U);
  EXPECT_EQ(Send(put).status, 200);  // cut once; libcurl repeats a PUT on a dead kept connection
  rule.operation = "";
  auto bad = admin.AddFault(folder_.path(), rule, context);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason(), "region.bad_fault");
  EXPECT_EQ(*admin.ClearFaults(folder_.path(), 0, context), 0);
}

TEST_F(RegionTest, RunsOncePerFolderAndNamesATakenPort) {
  RegionOptions options;
  options.folder = folder_.path();
  auto second = Region::Start(options, {clock_, random_, log_});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason(), "region.locked");
  const testing::TempDir other;
  options.folder = other.path();
  options.port = region_->port();
  auto taken = Region::Start(options, {clock_, random_, log_});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().reason(), "http.server.port_in_use");
}

TEST(ServeArguments, SurviveTheCommandLine) {
  ServeOptions options;
  options.region.folder = "/some/where";
  options.region.port = 0;
  options.region.zone = "us-east-1b";
  options.region.strict = true;
  options.ready_descriptor = 7;
  std::vector<std::string> arguments = ServeArguments(options);
  auto parsed = ParseServeArguments(std::span(arguments).subspan(2));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->region.folder, options.region.folder);
  EXPECT_EQ(parsed->region.port, 0);
  EXPECT_EQ(parsed->region.zone, "us-east-1b");
  EXPECT_TRUE(parsed->region.strict);
  EXPECT_EQ(parsed->ready_descriptor, 7);
  arguments.emplace_back("--nonsense");
  EXPECT_FALSE(ParseServeArguments(std::span(arguments).subspan(2)));
}

TEST(Profile, KeepsTheSecretOutOfTheLines) {
  const testing::TempDir folder;
  RegionInfo info;
  info.folder = folder.path() / "it's";
  info.port = 8014;
  info.region_name = "us-east-1";
  info.profile = kProfileName;
  ASSERT_TRUE(sys::MakeFolders(info.folder));
  ASSERT_TRUE(WriteProfile(info, {"123456789012", "AKIAEXAMPLE", Secret("the-secret")}));
  const std::string lines = EnvironmentLines(info);
  EXPECT_EQ(lines.find("the-secret"), std::string::npos);
  EXPECT_NE(lines.find("it'\\''s"), std::string::npos);
  const auto mode = std::filesystem::status(info.folder / "aws-credentials").permissions();
  EXPECT_EQ(mode & std::filesystem::perms(077), std::filesystem::perms::none);
}

}  // namespace
}  // namespace vmferry::region::control
