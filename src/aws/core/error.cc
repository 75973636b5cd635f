// SPDX-License-Identifier: Apache-2.0
#include "aws/core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/json.h"
#include "text/xml.h"

namespace vmferry::aws {
namespace {

// Longest text of AWS repeated in messages and facts; UnauthorizedOperation appends kilobytes.
constexpr std::size_t kMessageLimit = 600;

struct Known {
  std::string_view aws_code;
  ErrorCode code;
  std::string_view reason;
  Retry retry = Retry::kNever;
};

constexpr Known kKnown[] = {
    {"AuthFailure", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"InvalidAccessKeyId", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"InvalidClientTokenId", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"UnrecognizedClientException", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"MissingAuthenticationToken", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"MissingAuthenticationTokenException", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"IncompleteSignature", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"InvalidToken", ErrorCode::kUnauthenticated, "aws.bad_credentials"},
    {"ExpiredToken", ErrorCode::kUnauthenticated, "aws.expired_credentials",
     Retry::kRefreshCredentials},
    {"ExpiredTokenException", ErrorCode::kUnauthenticated, "aws.expired_credentials",
     Retry::kRefreshCredentials},
    {"SignatureDoesNotMatch", ErrorCode::kUnauthenticated, "aws.signature_mismatch"},
    {"InvalidSignatureException", ErrorCode::kUnauthenticated, "aws.signature_mismatch"},
    {"RequestTimeTooSkewed", ErrorCode::kFailedPrecondition, "aws.clock_skew"},
    {"RequestExpired", ErrorCode::kFailedPrecondition, "aws.clock_skew"},
    {"RequestInTheFuture", ErrorCode::kFailedPrecondition, "aws.clock_skew"},

    {"AccessDenied", ErrorCode::kPermissionDenied, "aws.access_denied"},
    {"AccessDeniedException", ErrorCode::kPermissionDenied, "aws.access_denied"},
    {"AllAccessDisabled", ErrorCode::kPermissionDenied, "aws.access_denied"},
    {"UnauthorizedOperation", ErrorCode::kPermissionDenied, "aws.access_denied"},
    {"OptInRequired", ErrorCode::kPermissionDenied, "aws.access_denied"},
    {"Blocked", ErrorCode::kPermissionDenied, "aws.access_denied"},

    // aws-sdk "standard" retry mode: throttling codes.
    {"Throttling", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"ThrottlingException", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"ThrottledException", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"RequestThrottled", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"RequestThrottledException", ErrorCode::kResourceExhausted, "aws.throttled",
     Retry::kThrottled},
    {"TooManyRequestsException", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"ProvisionedThroughputExceededException", ErrorCode::kResourceExhausted, "aws.throttled",
     Retry::kThrottled},
    {"RequestLimitExceeded", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"BandwidthLimitExceeded", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"LimitExceededException", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"SlowDown", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"PriorRequestNotComplete", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"TransactionInProgressException", ErrorCode::kResourceExhausted, "aws.throttled",
     Retry::kThrottled},
    {"EC2ThrottledException", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled},
    {"ConcurrentLimitExceededException", ErrorCode::kResourceExhausted, "aws.throttled",
     Retry::kThrottled},
    {"SnapshotCreationPerVolumeRateExceeded", ErrorCode::kResourceExhausted, "aws.throttled",
     Retry::kThrottled},

    {"InternalError", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"InternalFailure", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"InternalServerException", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"ServiceUnavailable", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"Unavailable", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"RequestTimeout", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"RequestTimeoutException", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"IncompleteBody", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient},
    {"OperationAborted", ErrorCode::kAborted, "aws.unavailable", Retry::kTransient},

    {"BadDigest", ErrorCode::kDataLoss, "aws.bad_digest", Retry::kTransient},
    {"XAmzContentSHA256Mismatch", ErrorCode::kDataLoss, "aws.bad_digest", Retry::kTransient},
    {"InvalidDigest", ErrorCode::kInvalidArgument, "aws.bad_request"},

    {"BucketAlreadyExists", ErrorCode::kAlreadyExists, "aws.bucket_taken"},
    {"BucketAlreadyOwnedByYou", ErrorCode::kAlreadyExists, "aws.bucket_exists"},
    {"BucketNotEmpty", ErrorCode::kFailedPrecondition, "aws.bucket_not_empty"},
    {"InvalidBucketName", ErrorCode::kInvalidArgument, "aws.bucket_invalid"},
    {"PermanentRedirect", ErrorCode::kFailedPrecondition, "aws.wrong_region"},
    {"TemporaryRedirect", ErrorCode::kFailedPrecondition, "aws.wrong_region"},
    {"AuthorizationHeaderMalformed", ErrorCode::kFailedPrecondition, "aws.wrong_region"},
    {"IllegalLocationConstraintException", ErrorCode::kFailedPrecondition, "aws.wrong_region"},
    {"InvalidRange", ErrorCode::kOutOfRange, "aws.bad_range"},

    {"NoSuchBucket", ErrorCode::kNotFound, "aws.not_found"},
    {"NoSuchKey", ErrorCode::kNotFound, "aws.not_found"},
    {"NoSuchUpload", ErrorCode::kNotFound, "aws.not_found"},
    {"ResourceNotFoundException", ErrorCode::kNotFound, "aws.not_found"},
    {"InvalidConversionTaskId", ErrorCode::kNotFound, "aws.not_found"},

    {"ResourceLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"ResourceCountLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"InstanceLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"VcpuLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"VolumeLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"MaxIOPSLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"SnapshotLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"PendingSnapshotLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"ConcurrentSnapshotLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"TagLimitExceeded", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"TooManyBuckets", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"ServiceQuotaExceededException", ErrorCode::kResourceExhausted, "aws.limit_exceeded"},
    {"InsufficientInstanceCapacity", ErrorCode::kResourceExhausted, "aws.no_capacity"},
    {"InsufficientCapacity", ErrorCode::kResourceExhausted, "aws.no_capacity"},
    {"InsufficientFreeAddressesInSubnet", ErrorCode::kResourceExhausted, "aws.no_capacity"},

    {"IncorrectState", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"IncorrectInstanceState", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"VolumeInUse", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"InvalidSnapshot.InUse", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"DeleteConversionTaskError", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"InvalidObjectState", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"ConflictException", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"DependencyViolation", ErrorCode::kFailedPrecondition, "aws.wrong_state"},
    {"PreconditionFailed", ErrorCode::kFailedPrecondition, "aws.wrong_state"},

    {"InvalidManifest", ErrorCode::kInvalidArgument, "aws.import_refused"},
    {"InvalidFormat", ErrorCode::kInvalidArgument, "aws.import_refused"},
    {"DiskImageSizeTooLarge", ErrorCode::kInvalidArgument, "aws.import_refused"},
    {"InaccessibleStorageLocation", ErrorCode::kInvalidArgument, "aws.import_refused"},

    {"UnsupportedOperation", ErrorCode::kUnimplemented, "aws.unsupported"},
    {"Unsupported", ErrorCode::kUnimplemented, "aws.unsupported"},
    {"NotImplemented", ErrorCode::kUnimplemented, "aws.unsupported"},
    {"InvalidAction", ErrorCode::kUnimplemented, "aws.unsupported"},
    {"UnknownOperationException", ErrorCode::kUnimplemented, "aws.unsupported"},
};

Known KnownFromStatus(int status) {
  if (status == 429) {
    return {"", ErrorCode::kResourceExhausted, "aws.throttled", Retry::kThrottled};
  }
  if (status >= 500 && status != 501) {
    return {"", ErrorCode::kUnavailable, "aws.unavailable", Retry::kTransient};
  }
  if (status == 501) return {"", ErrorCode::kUnimplemented, "aws.unsupported"};
  if (status == 404) return {"", ErrorCode::kNotFound, "aws.not_found"};
  if (status == 401) return {"", ErrorCode::kUnauthenticated, "aws.bad_credentials"};
  if (status == 403) return {"", ErrorCode::kPermissionDenied, "aws.access_denied"};
  if (status == 416) return {"", ErrorCode::kOutOfRange, "aws.bad_range"};
  if (status == 301 || status == 307) {
    return {"", ErrorCode::kFailedPrecondition, "aws.wrong_region"};
  }
  return {"", ErrorCode::kInvalidArgument, "aws.bad_request"};
}

Known Classify(std::string_view aws_code, std::string_view message, int status) {
  // Services that answer in JSON have one code for a wrong signature and a wrong clock.
  if (aws_code == "InvalidSignatureException" &&
      (message.find("expired") != message.npos ||
       message.find("not yet current") != message.npos)) {
    return {aws_code, ErrorCode::kFailedPrecondition, "aws.clock_skew"};
  }
  const auto found = std::find_if(std::begin(kKnown), std::end(kKnown),
                                  [&](const Known& known) { return known.aws_code == aws_code; });
  if (found != std::end(kKnown)) return *found;
  if (aws_code.ends_with(".NotFound")) {  // InvalidVolume.NotFound and thirty more
    return {aws_code, ErrorCode::kNotFound, "aws.not_found"};
  }
  return KnownFromStatus(status);
}

std::string_view RemedyFor(std::string_view reason) {
  struct Remedy {
    std::string_view reason, text;
  };
  static constexpr Remedy kRemedies[] = {
      {"aws.bad_credentials", "check the access key: aws sts get-caller-identity says whose it is"},
      {"aws.expired_credentials", "renew the session, then run: vmferry resume"},
      {"aws.signature_mismatch",
       "check the secret access key: it does not belong to the access key id"},
      {"aws.clock_skew", "set this machine's clock"},
      {"aws.access_denied", "allow the calls that vmferry migrate --dry-run lists"},
      {"aws.throttled", "run: vmferry resume later, or use fewer parallel requests"},
      {"aws.unavailable", "run: vmferry resume later"},
      {"aws.bucket_taken", "choose another bucket name: this one belongs to another account"},
      {"aws.wrong_region", "name the bucket's region, or another bucket"},
      {"aws.limit_exceeded", "wait for running tasks to end, or ask AWS for a higher quota"},
      {"aws.no_capacity", "choose another zone or instance type, or try again later"},
  };
  for (const Remedy& remedy : kRemedies) {
    if (remedy.reason == reason) return remedy.text;
  }
  return "";
}

// What the four kinds of bodies say.
struct Said {
  std::string code, message, request_id, region;
};

Said ReadXml(std::string_view body) {
  Said said;
  auto root = text::ParseXml(body);
  if (!root) return said;
  // EC2: Response/Errors/Error and RequestID; STS: ErrorResponse/Error and RequestId; S3: Error.
  const text::XmlElement* error = root->FindPath("Errors/Error");
  if (error == nullptr) error = root->Find("Error");
  if (error == nullptr && root->name == "Error") error = &*root;
  if (error == nullptr) return said;
  said.code = error->TextAt("Code");
  said.message = error->TextAt("Message");
  said.region = error->TextAt("Region");
  for (const char* name : {"RequestID", "RequestId"}) {
    if (said.request_id.empty()) said.request_id = root->TextAt(name);
  }
  return said;
}

Said ReadJson(const http::Response& response) {
  Said said;
  // "ValidationException:http://internal.amazon.com/..." has been seen in this header.
  const std::string type(response.headers.Find("x-amzn-ErrorType").value_or(""));
  said.code = type.substr(0, type.find(':'));
  const auto body = text::Json::Parse(response.body);
  if (!body) return said;
  for (const char* name : {"Message", "message"}) {
    if (said.message.empty()) said.message = (*body)[name].AsString();
  }
  if (said.code.empty()) said.code = (*body)["__type"].AsString();
  const std::string reason = (*body)["Reason"].AsString();
  if (!reason.empty()) said.message += fmt::format(" ({})", reason);
  return said;
}

std::string Limited(std::string text) {
  if (text.size() > kMessageLimit) {
    text.resize(kMessageLimit);
    text += "...";
  }
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  return text;
}

}  // namespace

std::string RequestId(const http::Response& response) {
  for (const char* name : {"x-amz-request-id", "x-amzn-RequestId"}) {
    if (const auto id = response.headers.Find(name)) return std::string(*id);
  }
  return "";
}

Error ErrorFromCode(std::string_view operation, std::string_view aws_code,
                    std::string_view aws_message, int http_status) {
  const Known known = Classify(aws_code, aws_message, http_status);
  const std::string said = Limited(std::string(aws_message));
  std::string message = fmt::format("{} was refused: {}", operation, aws_code);
  if (!said.empty()) message += fmt::format(": {}", said);
  while (message.ends_with('.')) message.pop_back();
  Error error = Error(known.code, known.reason, std::move(message))
                    .WithRetry(known.retry)
                    .WithRemedy(RemedyFor(known.reason))
                    .With("aws_code", aws_code)
                    .With("aws_message", said);
  if (http_status == 0) return error;
  return std::move(error).With("http_status", static_cast<std::uint64_t>(http_status));
}

Error ErrorFromResponse(Service service, std::string_view operation,
                        const http::Response& response) {
  Said said;
  if (service == Service::kEbs) {
    said = ReadJson(response);
  } else if (!response.body.empty()) {
    said = ReadXml(response.body);
  }
  if (said.code.empty()) said.code = std::to_string(response.status);
  Error error = ErrorFromCode(operation, said.code, said.message, response.status);
  if (said.request_id.empty()) said.request_id = RequestId(response);
  if (!said.request_id.empty()) error = std::move(error).With("request_id", said.request_id);
  if (const auto region = response.headers.Find("x-amz-bucket-region")) said.region = *region;
  if (!said.region.empty()) error = std::move(error).With("bucket_region", said.region);
  return error;
}

Error BadResponse(std::string_view operation, std::string why) {
  return Error(ErrorCode::kDataLoss, "aws.bad_response",
               fmt::format("the answer to {} cannot be understood: {}", operation, why))
      .WithRetry(Retry::kTransient);
}

bool OutcomeUnknown(const Error& error) {
  static constexpr std::array<std::string_view, 9> kUnknown = {
      "http.cut",        "http.stalled",     "http.timeout",   "http.stopped",     "http.too_large",
      "aws.unavailable", "aws.bad_response", "aws.bad_digest", "http.bad_response"};
  return std::find(kUnknown.begin(), kUnknown.end(), error.reason()) != kUnknown.end();
}

}  // namespace vmferry::aws
