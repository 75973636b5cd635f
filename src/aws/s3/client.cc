// SPDX-License-Identifier: Apache-2.0
#include "aws/s3/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "aws/core/error.h"
#include "aws/s3/bucket_name.h"
#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "text/xml.h"

namespace vmferry::aws::s3 {
namespace {

constexpr std::string_view kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";
// Slowest upload that is given its time: the attempt may take this long for each byte.
constexpr std::uint64_t kSlowestBytesPerSecond = 64 * kKiB;
// S3's error documents have a few KiB; with the canonical request of a bad signature some more.
constexpr std::uint64_t kErrorBodyBytes = 64 * kKiB;

std::string Checksum(std::uint32_t crc32c) { return codec::Base64Encode(codec::CrcBytes(crc32c)); }

std::chrono::milliseconds TimeFor(std::uint64_t size_bytes) {
  return std::chrono::seconds(60 + size_bytes / kSlowestBytesPerSecond);
}

std::string HeaderOf(const http::Response& response, std::string_view name) {
  return std::string(response.headers.Find(name).value_or(""));
}

ObjectInfo InfoOf(const http::Response& response) {
  ObjectInfo info;
  info.size_bytes = ParseUint(HeaderOf(response, "Content-Length")).value_or(0);
  // "bytes 0-9/443": after the slash is the size of the whole object.
  const std::string range = HeaderOf(response, "Content-Range");
  if (const std::size_t slash = range.find('/'); slash != range.npos) {
    info.size_bytes = ParseUint(range.substr(slash + 1)).value_or(0);
  }
  info.etag = HeaderOf(response, "ETag");
  info.content_type = HeaderOf(response, "Content-Type");
  // "abc=-12" is a checksum of parts' checksums: not comparable with a CRC of the bytes.
  const std::string checksum = HeaderOf(response, "x-amz-checksum-crc32c");
  if (checksum.find('-') == checksum.npos) info.checksum_crc32c = checksum;
  return info;
}

Error ChecksumMismatch(std::string message) {
  return Error(ErrorCode::kDataLoss, "aws.s3.checksum_mismatch", std::move(message))
      .WithRetry(Retry::kTransient);
}

}  // namespace

Result<http::Url> Client::UrlOf(const std::string& bucket, std::string_view key) const {
  VMFERRY_RETURN_IF_ERROR(CheckBucketName(bucket));
  const Endpoints& endpoints = caller_.config().endpoints;
  http::Url url = endpoints.Of(Service::kS3);
  while (url.path.ends_with('/')) url.path.pop_back();
  // A wildcard certificate covers one label, so names with dots go into the path under https.
  const bool in_path = endpoints.force_path_style() || IsAddress(url.host) ||
                       IsLoopback(url.host) || bucket.find('.') != bucket.npos;
  if (in_path) {
    url.path += "/" + bucket;
  } else {
    url.host = bucket + "." + url.host;
  }
  if (!key.empty() || !in_path) url.path += "/" + http::PercentEncode(key, true);
  return url;
}

Result<ApiCall> Client::MakeCall(std::string_view operation, std::string_view method,
                                 const std::string& bucket, std::string_view key) const {
  ApiCall call;
  call.service = Service::kS3;
  call.operation = operation;
  call.request.method = method;
  VMFERRY_ASSIGN_OR_RETURN(call.request.url, UrlOf(bucket, key));
  call.signing = sigv4::S3Options();
  call.payload_hash = sigv4::kEmptyPayloadHash;
  return call;
}

Result<std::string> Client::HeadBucket(const std::string& bucket, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const ApiCall call, MakeCall("HeadBucket", "HEAD", bucket, ""));
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket);
  return HeaderOf(*response, "x-amz-bucket-region");
}

Result<bool> Client::CreateBucket(const std::string& bucket, const OpContext& context) {
  auto exists = HeadBucket(bucket, context);
  if (exists) return false;
  if (exists.error().code() == ErrorCode::kPermissionDenied ||
      exists.error().reason() == "aws.wrong_region") {
    // Somebody's, in this account or another: PUT tells which, and changes nothing.
  } else if (exists.error().code() != ErrorCode::kNotFound) {
    return std::move(exists).error();
  }
  VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("CreateBucket", "PUT", bucket, ""));
  std::string body;
  if (const std::string& region = caller_.config().region; region != "us-east-1") {
    text::XmlWriter xml(false);
    xml.Open("CreateBucketConfiguration", {{"xmlns", std::string(kNamespace)}});
    xml.Element("LocationConstraint", region);
    body = xml.Close().Finish();
    call.request.headers.Set("Content-Type", "application/xml");
  }
  call.request.body = AsBytes(body);
  call.payload_hash = codec::HexEncode(codec::Sha256(AsBytes(body)));
  auto response = caller_.Call(call, context);
  if (response) return true;
  if (response.error().reason() == "aws.bucket_exists") return false;
  return std::move(response).error().With("bucket", bucket);
}

Result<void> Client::DeleteBucket(const std::string& bucket, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const ApiCall call, MakeCall("DeleteBucket", "DELETE", bucket, ""));
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket);
  return {};
}

Result<PutResult> Client::PutObject(const std::string& bucket, const std::string& key,
                                    std::span<const std::byte> body, const PutOptions& options,
                                    const OpContext& context) {
  VMFERRY_CHECK(!key.empty() && body.size() <= kPutLimitBytes);
  VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("PutObject", "PUT", bucket, key));
  const std::string checksum = Checksum(options.crc32c ? *options.crc32c : codec::Crc32c(body));
  call.request.headers = {{"Content-Type", options.content_type},
                          {"x-amz-sdk-checksum-algorithm", "CRC32C"},
                          {"x-amz-checksum-crc32c", checksum}};
  call.request.body = body;
  call.payload_hash = sigv4::kUnsignedPayload;
  call.attempt_timeout = TimeFor(body.size());
  call.check = [&](const http::Response& response) -> Result<void> {
    const std::string stored = HeaderOf(response, "x-amz-checksum-crc32c");
    if (stored == checksum) return {};
    return ChecksumMismatch(fmt::format(
        "the server stored an object with CRC32C '{}' where '{}' was sent", stored, checksum));
  };
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket).With("key", key);
  return PutResult{.etag = HeaderOf(*response, "ETag"), .checksum_crc32c = checksum};
}

Result<ObjectInfo> Client::HeadObject(const std::string& bucket, const std::string& key,
                                      const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("HeadObject", "HEAD", bucket, key));
  call.request.headers = {{"x-amz-checksum-mode", "ENABLED"}};
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket).With("key", key);
  return InfoOf(*response);
}

Result<GetResult> Client::GetObject(const std::string& bucket, const std::string& key,
                                    const GetOptions& options, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("GetObject", "GET", bucket, key));
  call.request.headers = {{"x-amz-checksum-mode", "ENABLED"}};
  std::uint64_t limit = options.limit_bytes;
  if (options.range) {
    const std::uint64_t first = options.range->offset_bytes;
    const auto end = CheckedAdd(first, options.range->length_bytes);
    VMFERRY_CHECK(options.range->length_bytes > 0 && end.has_value());
    call.request.headers.Set("Range", fmt::format("bytes={}-{}", first, *end - 1));
    limit = std::min(limit, options.range->length_bytes);
  }
  // What S3 says when it refuses must fit in any case.
  call.send.response_limit_bytes =
      static_cast<std::size_t>(std::max<std::uint64_t>(limit, kErrorBodyBytes));
  call.attempt_timeout = TimeFor(limit);
  call.check = [&](const http::Response& response) -> Result<void> {
    if (options.range && response.status != 206) {
      return BadResponse("GetObject", "the range was ignored");
    }
    if (response.body.size() > limit) {
      return Error(ErrorCode::kResourceExhausted, "http.too_large",
                   fmt::format("the object is longer than {} bytes", limit));
    }
    if (options.range) return {};
    const std::string stored = InfoOf(response).checksum_crc32c;
    const std::string received = Checksum(codec::Crc32c(AsBytes(response.body)));
    if (stored.empty() || stored == received) return {};
    return ChecksumMismatch(
        fmt::format("an object with CRC32C '{}' arrived with '{}'", stored, received));
  };
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket).With("key", key);
  GetResult result{.info = InfoOf(*response), .body = std::move(response->body)};
  if (!options.range) result.info.size_bytes = result.body.size();
  return result;
}

Result<void> Client::DeleteObject(const std::string& bucket, const std::string& key,
                                  const OpContext& context) {
  VMFERRY_CHECK(!key.empty());  // it would be the bucket
  VMFERRY_ASSIGN_OR_RETURN(const ApiCall call, MakeCall("DeleteObject", "DELETE", bucket, key));
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket).With("key", key);
  return {};
}

Result<std::vector<Client::DeleteFailure>> Client::DeleteObjects(const std::string& bucket,
                                                                 std::span<const std::string> keys,
                                                                 const OpContext& context) {
  std::vector<DeleteFailure> failures;
  while (!keys.empty()) {
    const auto batch = keys.first(std::min(keys.size(), kDeleteBatch));
    keys = keys.subspan(batch.size());
    text::XmlWriter xml;
    xml.Open("Delete", {{"xmlns", std::string(kNamespace)}}).Element("Quiet", "true");
    for (const std::string& key : batch) xml.Open("Object").Element("Key", key).Close();
    const std::string body = xml.Close().Finish();

    VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("DeleteObjects", "POST", bucket, ""));
    call.request.url.query = "delete=";
    call.request.headers = {{"Content-Type", "application/xml"},
                            {"Content-MD5", codec::Base64Encode(codec::Md5(AsBytes(body)))}};
    call.request.body = AsBytes(body);
    call.payload_hash = codec::HexEncode(codec::Sha256(AsBytes(body)));
    std::vector<DeleteFailure> refused;
    call.check = [&](const http::Response& response) -> Result<void> {
      refused.clear();
      const auto root = text::ParseXml(response.body);
      if (!root || root->name != "DeleteResult") {
        return BadResponse("DeleteObjects", "it is no DeleteResult");
      }
      for (const text::XmlElement& child : root->children) {
        if (child.name != "Error") continue;
        refused.push_back({child.TextAt("Key"), ErrorFromCode("DeleteObjects", child.TextAt("Code"),
                                                              child.TextAt("Message"))
                                                    .With("bucket", bucket)
                                                    .With("key", child.TextAt("Key"))});
      }
      return {};
    };
    auto response = caller_.Call(call, context);
    if (!response) return std::move(response).error().With("bucket", bucket);
    failures.insert(failures.end(), std::make_move_iterator(refused.begin()),
                    std::make_move_iterator(refused.end()));
  }
  return failures;
}

Result<std::string> Client::PresignedUrl(std::string_view method, const std::string& bucket,
                                         const std::string& key,
                                         std::chrono::seconds expires) const {
  if (expires.count() < 1 || expires > sigv4::kMaxExpires) {
    return Error(ErrorCode::kInvalidArgument, "aws.bad_expiry",
                 fmt::format("a pre-signed URL cannot live for {} s", expires.count()))
        .WithRemedy("choose from 1 s to 7 days");
  }
  VMFERRY_ASSIGN_OR_RETURN(http::Url url, UrlOf(bucket, key));
  const Config& config = caller_.config();
  const std::vector<sigv4::Header> headers = {{"host", url.HostHeader()}};
  url.query = sigv4::Presign({.method = method,
                              .path = url.path,
                              .query = "",
                              .headers = headers,
                              .payload_hash = sigv4::kUnsignedPayload},
                             config.credentials,
                             {.region = config.region,
                              .service = ServiceName(Service::kS3),
                              .time = caller_.SigningTime(),
                              .options = sigv4::S3Options()},
                             expires);
  return url.ToString();
}

}  // namespace vmferry::aws::s3
