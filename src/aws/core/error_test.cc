// SPDX-License-Identifier: Apache-2.0
#include "aws/core/error.h"

#include <gtest/gtest.h>

namespace vmferry::aws {
namespace {

http::Response Answer(int status, std::string body, http::Headers headers = {}) {
  return {.status = status, .headers = std::move(headers), .body = std::move(body)};
}

std::string Fact(const Error& error, std::string_view key) {
  const std::string* fact = error.FindFact(key);
  return fact == nullptr ? "(none)" : *fact;
}

TEST(ErrorFromResponse, ReadsEc2) {
  const Error error = ErrorFromResponse(
      Service::kEc2, "DeleteVolume",
      Answer(400,
             "<?xml version=\"1.0\"?><Response><Errors><Error><Code>InvalidVolume.NotFound</Code>"
             "<Message>The volume 'vol-1' does not exist.</Message></Error></Errors>"
             "<RequestID>r-1</RequestID></Response>"));
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.reason(), "aws.not_found");
  EXPECT_EQ(error.message(),
            "DeleteVolume was refused: InvalidVolume.NotFound: The volume 'vol-1' does not exist");
  EXPECT_EQ(Fact(error, "aws_code"), "InvalidVolume.NotFound");
  EXPECT_EQ(Fact(error, "aws_message"), "The volume 'vol-1' does not exist.");
  EXPECT_EQ(Fact(error, "request_id"), "r-1");
  EXPECT_EQ(Fact(error, "http_status"), "400");
}

TEST(ErrorFromResponse, ReadsS3) {
  const Error error = ErrorFromResponse(
      Service::kS3, "PutObject",
      Answer(400,
             "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message>"
             "<Region>eu-west-1</Region><RequestId>r-2</RequestId></Error>"));
  EXPECT_EQ(error.reason(), "aws.wrong_region");
  EXPECT_EQ(Fact(error, "bucket_region"), "eu-west-1");
  EXPECT_EQ(Fact(error, "request_id"), "r-2");
}

TEST(ErrorFromResponse, ReadsS3WithoutBody) {
  const Error missing =
      ErrorFromResponse(Service::kS3, "HeadObject", Answer(404, "", {{"x-amz-request-id", "r-3"}}));
  EXPECT_EQ(missing.reason(), "aws.not_found");
  EXPECT_EQ(Fact(missing, "request_id"), "r-3");
  EXPECT_EQ(ErrorFromResponse(Service::kS3, "HeadBucket", Answer(403, "")).reason(),
            "aws.access_denied");
  const Error elsewhere = ErrorFromResponse(
      Service::kS3, "HeadBucket", Answer(301, "", {{"x-amz-bucket-region", "eu-west-1"}}));
  EXPECT_EQ(elsewhere.reason(), "aws.wrong_region");
  EXPECT_EQ(Fact(elsewhere, "bucket_region"), "eu-west-1");
}

TEST(ErrorFromResponse, ReadsEbs) {
  const Error error =
      ErrorFromResponse(Service::kEbs, "GetSnapshotBlock",
                        Answer(400, R"({"Message":"slow down","Reason":"ACCOUNT_THROTTLED"})",
                               {{"x-amzn-ErrorType", "RequestThrottledException:http://internal"},
                                {"x-amzn-RequestId", "r-4"}}));
  EXPECT_EQ(error.reason(), "aws.throttled");
  EXPECT_EQ(error.retry(), Retry::kThrottled);
  EXPECT_EQ(Fact(error, "aws_message"), "slow down (ACCOUNT_THROTTLED)");
  EXPECT_EQ(Fact(error, "request_id"), "r-4");
}

TEST(ErrorFromResponse, ReadsSts) {
  const Error error = ErrorFromResponse(
      Service::kSts, "GetCallerIdentity",
      Answer(403,
             "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidClientTokenId</Code>"
             "<Message>no</Message></Error><RequestId>r-5</RequestId></ErrorResponse>"));
  EXPECT_EQ(error.reason(), "aws.bad_credentials");
  EXPECT_EQ(error.code(), ErrorCode::kUnauthenticated);
  EXPECT_EQ(Fact(error, "request_id"), "r-5");
}

TEST(ErrorFromResponse, SurvivesBodiesThatAreNoErrors) {
  for (const Service service : kServices) {
    for (const char* body : {"", "<html>", "{", "<Error/>", "[1]", "plain"}) {
      const Error error = ErrorFromResponse(service, "X", Answer(503, body));
      EXPECT_EQ(error.reason(), "aws.unavailable") << body;
      EXPECT_EQ(error.retry(), Retry::kTransient);
    }
  }
}

TEST(ErrorFromCode, BoundsAwssText) {
  const Error error = ErrorFromCode("X", "UnauthorizedOperation", std::string(10'000, 'x'), 403);
  EXPECT_LT(error.message().size(), 1000U);
  EXPECT_EQ(error.reason(), "aws.access_denied");
}

// One code of each group of aws-reference 2.4, 3.4 and 4.4.
TEST(ErrorFromCode, ClassifiesEachGroup) {
  struct Case {
    const char* aws_code;
    int status;
    const char* reason;
    Retry retry;
  };
  const Case cases[] = {
      {"SignatureDoesNotMatch", 403, "aws.signature_mismatch", Retry::kNever},
      {"ExpiredToken", 400, "aws.expired_credentials", Retry::kRefreshCredentials},
      {"RequestExpired", 400, "aws.clock_skew", Retry::kNever},
      {"RequestLimitExceeded", 503, "aws.throttled", Retry::kThrottled},
      {"SlowDown", 503, "aws.throttled", Retry::kThrottled},
      {"InternalError", 500, "aws.unavailable", Retry::kTransient},
      {"RequestTimeout", 400, "aws.unavailable", Retry::kTransient},
      {"ResourceLimitExceeded", 400, "aws.limit_exceeded", Retry::kNever},
      {"InvalidManifest", 400, "aws.import_refused", Retry::kNever},
      {"DeleteConversionTaskError", 400, "aws.wrong_state", Retry::kNever},
      {"BucketAlreadyExists", 409, "aws.bucket_taken", Retry::kNever},
      {"BadDigest", 400, "aws.bad_digest", Retry::kTransient},
      {"InvalidInstanceID.NotFound", 400, "aws.not_found", Retry::kNever},
      {"MissingParameter", 400, "aws.bad_request", Retry::kNever},
      {"NotImplemented", 501, "aws.unsupported", Retry::kNever},
      {"Whatever", 418, "aws.bad_request", Retry::kNever},
      {"Whatever", 502, "aws.unavailable", Retry::kTransient},
      {"Whatever", 429, "aws.throttled", Retry::kThrottled},
  };
  for (const Case& test : cases) {
    const Error error = ErrorFromCode("X", test.aws_code, "", test.status);
    EXPECT_EQ(error.reason(), test.reason) << test.aws_code;
    EXPECT_EQ(error.retry(), test.retry) << test.aws_code;
  }
  EXPECT_EQ(
      ErrorFromCode("X", "InvalidSignatureException", "Signature expired: 1 is now earlier", 403)
          .reason(),
      "aws.clock_skew");
}

}  // namespace
}  // namespace vmferry::aws
