// SPDX-License-Identifier: Apache-2.0
#include "aws/core/caller.h"

#include <gtest/gtest.h>

#include "aws/core/error.h"
#include "testing/fake_aws_caller.h"

namespace vmferry::aws {
namespace {

using std::chrono::milliseconds;
using testing::FakeAwsCaller;

std::string S3Error(std::string_view code) {
  return "<Error><Code>" + std::string(code) + "</Code><Message>m</Message></Error>";
}

Error Broken(std::string_view reason) {
  return Error(ErrorCode::kUnavailable, reason, "broken").WithRetry(Retry::kTransient);
}

ApiCall MakeCall(bool idempotent = true) {
  ApiCall call;
  call.service = Service::kS3;
  call.operation = "PutObject";
  call.request.method = "PUT";
  call.request.url = *http::ParseUrl("http://127.0.0.1:8014/bucket/key");
  call.payload_hash = sigv4::kUnsignedPayload;
  call.signing = sigv4::S3Options();
  call.idempotent = idempotent;
  return call;
}

TEST(Caller, SignsWithHostDateAndPayloadHash) {
  FakeAwsCaller fake;
  fake.http.Answer(200);
  ASSERT_TRUE(fake.caller.Call(MakeCall(), fake.context));
  const auto sent = fake.http.sent().at(0);
  EXPECT_EQ(sent.Header("Host"), "127.0.0.1:8014");
  EXPECT_EQ(sent.Header("x-amz-date"), "20260101T000000Z");
  EXPECT_EQ(sent.Header("x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
  EXPECT_TRUE(sent.Header("authorization")
                  .starts_with("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/"
                               "us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-"
                               "sha256;x-amz-date, Signature="));
}

TEST(Caller, RepeatsWhatIsTransientAndSignsAnew) {
  FakeAwsCaller fake;
  fake.http.AnswerError(Broken("http.cut"));
  fake.http.Answer(500, S3Error("InternalError"));
  fake.http.AnswerWith([&](const auto&) -> Result<http::Response> {
    fake.clock.Advance(std::chrono::seconds(5));
    return Broken("http.stalled");
  });
  fake.http.Answer(200, "ok");
  const auto response = fake.caller.Call(MakeCall(), fake.context);
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->body, "ok");
  EXPECT_EQ(fake.http.sent().size(), 4U);
  EXPECT_NE(fake.http.sent()[3].Header("x-amz-date"), fake.http.sent()[2].Header("x-amz-date"));
}

TEST(Caller, StopsAtTheAttemptsCapAndSaysSo) {
  FakeAwsCaller fake("http://127.0.0.1:8014", "us-east-1", {.attempts_max = 3});
  for (int i = 0; i < 5; ++i) fake.http.Answer(503, S3Error("ServiceUnavailable"));
  const auto response = fake.caller.Call(MakeCall(), fake.context);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "aws.unavailable");
  EXPECT_EQ(*response.error().FindFact("attempts"), "3");
  EXPECT_EQ(*response.error().FindFact("operation"), "PutObject");
  EXPECT_EQ(fake.http.unused(), 2U);
}

TEST(Caller, DoesNotSleepPastTheDeadline) {
  FakeAwsCaller fake;
  for (int i = 0; i < 8; ++i) fake.http.Answer(503, S3Error("SlowDown"));
  const MonotonicTime start = fake.clock.MonotonicNow();
  fake.context.deadline = fake.clock.DeadlineIn(milliseconds(3000));
  const auto response = fake.caller.Call(MakeCall(), fake.context);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "aws.throttled");
  EXPECT_LT(fake.clock.MonotonicNow() - start, milliseconds(3000));
  EXPECT_LT(fake.http.sent().size(), 8U);
}

// Full jitter: each delay lies below a bound that doubles; throttling starts with a longer one.
TEST(Caller, DelaysGrowWithinTheirBounds) {
  for (const auto& [code, first_bound] :
       {std::pair("InternalError", milliseconds(200)), std::pair("SlowDown", milliseconds(1000))}) {
    FakeAwsCaller fake;
    std::vector<MonotonicTime> times;
    for (int i = 0; i < 8; ++i) {
      fake.http.AnswerWith([&, code = code](const auto&) -> Result<http::Response> {
        times.push_back(fake.clock.MonotonicNow());
        return http::Response{.status = 500, .body = S3Error(code)};
      });
    }
    ASSERT_FALSE(fake.caller.Call(MakeCall(), fake.context));
    ASSERT_EQ(times.size(), 8U);
    auto bound = first_bound;
    MonotonicTime::duration total{};
    for (std::size_t i = 1; i < times.size(); ++i) {
      EXPECT_LE(times[i] - times[i - 1], std::min(bound, milliseconds(20'000)));
      total += times[i] - times[i - 1];
      bound *= 2;
    }
    EXPECT_GT(total, first_bound);
  }
}

TEST(Caller, DoesNotRepeatWhatIsPermanent) {
  for (const char* code : {"AccessDenied", "SignatureDoesNotMatch", "NoSuchKey", "ExpiredToken"}) {
    FakeAwsCaller fake;
    fake.http.Answer(403, S3Error(code));
    ASSERT_FALSE(fake.caller.Call(MakeCall(), fake.context));
    EXPECT_EQ(fake.http.sent().size(), 1U) << code;
  }
}

// ImportInstance has no client token: one that may have been carried out is never sent again.
TEST(Caller, RepeatsWhatIsNotIdempotentOnlyWhenItWasNotCarriedOut) {
  struct Case {
    std::function<void(testing::FakeHttpClient&)> fail;
    bool repeated;
  };
  const Case cases[] = {
      {[](auto& http) { http.AnswerError(Broken("http.connect_failed")); }, true},
      {[](auto& http) { http.Answer(503, S3Error("RequestLimitExceeded")); }, true},
      {[](auto& http) { http.AnswerError(Broken("http.cut")); }, false},
      {[](auto& http) { http.AnswerError(Broken("http.timeout")); }, false},
      {[](auto& http) { http.AnswerError(Broken("http.stalled")); }, false},
      {[](auto& http) { http.Answer(500, S3Error("InternalError")); }, false},
      {[](auto& http) { http.Answer(503, S3Error("ServiceUnavailable")); }, false},
      {[](auto& http) { http.Answer(502, "<html>"); }, false},
  };
  for (const Case& test : cases) {
    FakeAwsCaller fake;
    test.fail(fake.http);
    fake.http.Answer(200);
    const auto response = fake.caller.Call(MakeCall(false), fake.context);
    EXPECT_EQ(response.has_value(), test.repeated);
    EXPECT_EQ(fake.http.sent().size(), test.repeated ? 2U : 1U);
    if (!response) {
      EXPECT_TRUE(OutcomeUnknown(response.error())) << response.error().reason();
    }
  }
}

TEST(OutcomeUnknown, IsFalseForARefusal) {
  EXPECT_FALSE(OutcomeUnknown(ErrorFromCode("X", "InvalidManifest", "", 400)));
  EXPECT_FALSE(OutcomeUnknown(Broken("http.connect_failed")));
}

TEST(Caller, CorrectsAWrongClockOnceAndKeepsTheCorrection) {
  FakeAwsCaller fake;  // 2026-01-01T00:00:00Z
  const http::Headers date = {{"Date", "Thu, 01 Jan 2026 05:00:00 GMT"}};
  fake.http.Answer(403, S3Error("RequestTimeTooSkewed"), date);
  fake.http.Answer(200);
  fake.http.Answer(200);
  ASSERT_TRUE(fake.caller.Call(MakeCall(), fake.context));
  ASSERT_TRUE(fake.caller.Call(MakeCall(), fake.context));
  EXPECT_EQ(fake.http.sent()[1].Header("x-amz-date"), "20260101T050000Z");
  EXPECT_EQ(fake.http.sent()[2].Header("x-amz-date"), "20260101T050000Z");
}

TEST(Caller, GivesUpWhenCorrectingTheClockDoesNotHelp) {
  FakeAwsCaller fake;
  for (const char* time : {"05", "09", "12"}) {
    fake.http.Answer(403, S3Error("RequestTimeTooSkewed"),
                     {{"Date", "Thu, 01 Jan 2026 " + std::string(time) + ":00:00 GMT"}});
  }
  const auto response = fake.caller.Call(MakeCall(), fake.context);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "aws.clock_skew");
  EXPECT_EQ(fake.http.sent().size(), 2U);
}

TEST(Caller, ReportsClockSkewWithoutAUsableDate) {
  for (const char* date :
       {"", "yesterday", "Thu, 99 Jan 2026 05:00:00 GMT", "Thu, 01 anF 2026 05:00:00 GMT",
        "Thu, 01 Jan 9026 05:00:00 GMT", "Thu, 01 Jan 2026 00:00:30 GMT"}) {
    FakeAwsCaller fake;
    fake.http.Answer(403, S3Error("RequestTimeTooSkewed"), {{"Date", date}});
    ASSERT_FALSE(fake.caller.Call(MakeCall(), fake.context)) << date;
    EXPECT_EQ(fake.http.sent().size(), 1U) << date;
  }
}

TEST(Caller, RepeatsWhenTheCheckSaysSoAndRestartsFirst) {
  FakeAwsCaller fake;
  fake.http.Answer(200, "bad");
  fake.http.Answer(200, "good");
  ApiCall call = MakeCall();
  int restarts = 0;
  call.restart = [&] { ++restarts; };
  call.check = [](const http::Response& response) -> Result<void> {
    if (response.body == "good") return {};
    return Broken("test.bad");
  };
  ASSERT_TRUE(fake.caller.Call(call, fake.context));
  EXPECT_EQ(restarts, 2);
}

TEST(Caller, EndsOnStop) {
  FakeAwsCaller fake;
  std::stop_source stop;
  fake.context.stop = stop.get_token();
  fake.http.AnswerWith([&](const auto&) -> Result<http::Response> {
    stop.request_stop();
    return Broken("http.cut");
  });
  ASSERT_FALSE(fake.caller.Call(MakeCall(), fake.context));
  EXPECT_EQ(fake.http.sent().size(), 1U);
}

TEST(Caller, SendsTheSessionTokenSigned) {
  FakeAwsCaller fake;
  Config config = FakeAwsCaller::MakeConfig("http://127.0.0.1:8014", "us-east-1");
  config.credentials.session_token = Secret("token");
  Caller caller(fake.http, fake.clock, fake.random, fake.log, config);
  fake.http.Answer(200);
  ASSERT_TRUE(caller.Call(MakeCall(), fake.context));
  EXPECT_EQ(fake.http.sent()[0].Header("x-amz-security-token"), "token");
  EXPECT_NE(fake.http.sent()[0].Header("authorization").find(";x-amz-security-token,"),
            std::string::npos);
}

}  // namespace
}  // namespace vmferry::aws
