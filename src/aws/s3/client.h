// SPDX-License-Identifier: Apache-2.0
//
// s3::Client: buckets and whole objects. Multipart uploads are not here yet.
//
// Bodies travel as UNSIGNED-PAYLOAD with a CRC32C that is a signed header: the server verifies the
// bytes, and they are read once. Every operation checks the bucket's name first.
//
// Errors of all operations: those of Caller::Call, and kInvalidArgument aws.bucket_invalid.
//
// Thread safety: all methods may be called from any number of threads.
// Source: Amazon S3 API reference, version 2006-03-01.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "aws/core/caller.h"

namespace vmferry::aws::s3 {

/// Largest object of a single PUT.
inline constexpr std::uint64_t kPutLimitBytes = std::uint64_t{5} << 30;
/// Keys of one DeleteObjects request.
inline constexpr std::size_t kDeleteBatch = 1000;

struct PutOptions {
  std::string content_type = "application/octet-stream";
  /// Of the body, when the caller has it already; computed otherwise.
  std::optional<std::uint32_t> crc32c;
};

struct PutResult {
  std::string etag;             ///< with its quotes, as sent
  std::string checksum_crc32c;  ///< base64, equal to what was sent
};

struct ObjectInfo {
  std::uint64_t size_bytes = 0;
  std::string etag;
  std::string checksum_crc32c;  ///< base64; empty when the object has none of this kind
  std::string content_type;
};

struct ByteRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< > 0
};

struct GetOptions {
  std::optional<ByteRange> range;  ///< the whole object when absent
  /// A longer answer is an error (http.too_large). A range is never longer than itself.
  std::size_t limit_bytes = std::size_t{16} << 20;
};

struct GetResult {
  ObjectInfo info;  ///< of the whole object
  std::string body;
};

struct ListedObject {
  std::string key;
  std::uint64_t size_bytes = 0;
  std::string etag;
  std::string last_modified;  ///< RFC 3339
};

struct ListPage {
  std::vector<ListedObject> objects;
  std::string next_token;  ///< empty on the last page
};

struct ListOptions {
  std::string prefix;
  std::string start_after;
  std::uint32_t max_keys = 1000;
  std::string token;  ///< ListPage::next_token of the page before
};

class Client {
 public:
  /// `caller` must outlive the client.
  explicit Client(Caller& caller) : caller_(caller) {}

  /// The bucket's region, empty when the server does not tell.
  ///
  /// Request:  HEAD /bucket. Response: x-amz-bucket-region.
  /// Errors:   kNotFound aws.not_found; kPermissionDenied aws.access_denied (it may exist);
  ///           kFailedPrecondition aws.wrong_region with the fact bucket_region.
  Result<std::string> HeadBucket(const std::string& bucket, const OpContext& context);

  /// True when the bucket was made, false when it was ours before.
  ///
  /// Request:  PUT /bucket with LocationConstraint; without a body in us-east-1.
  /// Errors:   kAlreadyExists aws.bucket_taken.
  /// Retry:    us-east-1 answers 200 for a bucket that was ours already, so a HeadBucket comes
  /// first.
  Result<bool> CreateBucket(const std::string& bucket, const OpContext& context);

  /// Request:  DELETE /bucket. Errors: kFailedPrecondition aws.bucket_not_empty; aws.not_found.
  Result<void> DeleteBucket(const std::string& bucket, const OpContext& context);

  /// Stores an object of at most kPutLimitBytes.
  ///
  /// Request:  PUT /bucket/key; Content-Type, x-amz-checksum-crc32c, x-amz-sdk-checksum-algorithm
  ///           (S3 does not need it, servers like it do), x-amz-content-sha256: UNSIGNED-PAYLOAD.
  /// Response: ETag, x-amz-checksum-crc32c.
  /// Errors:   kDataLoss aws.s3.checksum_mismatch  the server's checksum is not ours, or is absent.
  /// Retry:    idempotent.
  Result<PutResult> PutObject(const std::string& bucket, const std::string& key,
                              std::span<const std::byte> body, const PutOptions& options,
                              const OpContext& context);

  /// Request:  HEAD /bucket/key; x-amz-checksum-mode: ENABLED.
  /// Response: Content-Length, ETag, Content-Type, x-amz-checksum-crc32c.
  /// Errors:   kNotFound aws.not_found.
  Result<ObjectInfo> HeadObject(const std::string& bucket, const std::string& key,
                                const OpContext& context);

  /// Request:  GET /bucket/key; Range, x-amz-checksum-mode: ENABLED.
  /// Response: body, Content-Range, ETag, x-amz-checksum-crc32c.
  /// Errors:   kDataLoss aws.s3.checksum_mismatch  a whole body does not have the object's CRC32C;
  ///           kOutOfRange aws.bad_range           the range begins past the end.
  Result<GetResult> GetObject(const std::string& bucket, const std::string& key,
                              const GetOptions& options, const OpContext& context);

  /// Succeeds when the object does not exist. Request: DELETE /bucket/key.
  Result<void> DeleteObject(const std::string& bucket, const std::string& key,
                            const OpContext& context);

  struct DeleteFailure {
    std::string key;
    Error error;
  };
  /// Deletes any number of objects, kDeleteBatch at a time; the keys that were not deleted come
  /// back. Objects that do not exist count as deleted.
  ///
  /// Request:  POST /bucket?delete; Content-MD5; Delete/Quiet, Delete/Object/Key.
  /// Response: DeleteResult/Error/{Key, Code, Message}.
  /// Errors:   of the request as a whole; batches before it are done.
  Result<std::vector<DeleteFailure>> DeleteObjects(const std::string& bucket,
                                                   std::span<const std::string> keys,
                                                   const OpContext& context);

  /// One page, in the order of keys' bytes.
  ///
  /// Request:  GET /bucket?list-type=2; prefix, start-after, max-keys, continuation-token,
  ///           encoding-type=url.
  /// Response: IsTruncated, NextContinuationToken, Contents/{Key, Size, ETag, LastModified}.
  Result<ListPage> ListObjectsV2(const std::string& bucket, const ListOptions& options,
                                 const OpContext& context);

  /// Visits every object below the prefix, page by page; stops at the first error of `visit`.
  Result<void> ForEachObject(const std::string& bucket, const std::string& prefix,
                             const std::function<Result<void>(const ListedObject&)>& visit,
                             const OpContext& context);

  /// A URL that lets its bearer do one thing until it expires: a secret. No call is made.
  ///
  /// Errors: kInvalidArgument aws.bad_expiry (not 1 s to 7 days).
  Result<std::string> PresignedUrl(std::string_view method, const std::string& bucket,
                                   const std::string& key, std::chrono::seconds expires) const;

 private:
  Result<http::Url> UrlOf(const std::string& bucket, std::string_view key) const;
  Result<ApiCall> MakeCall(std::string_view operation, std::string_view method,
                           const std::string& bucket, std::string_view key) const;

  Caller& caller_;
};

}  // namespace vmferry::aws::s3
