// SPDX-License-Identifier: Apache-2.0
//
// Service, Call, Answer: what one AWS service of the region is given and gives back.
//
// By the time Handle is called the request is authenticated, its body received whole, its payload
// hash verified and its faults applied. A service never sees sockets or signatures.
//
// Thread safety: Handle and OperationOf are called from many threads at once.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/file.h"

namespace vmferry::region {

using NameValue = std::pair<std::string, std::string>;

/// Checksums of the payload (after aws-chunked decoding), computed while it arrived. Raw bytes, as
/// in the digest; empty when nobody asked for it.
struct PayloadDigests {
  std::string md5;
  std::string sha256;
  std::string sha1;
  std::string crc32;
  std::string crc32c;
  std::string crc64nvme;
};

/// The request's payload: in memory up to Settings::memory_body_bytes, else in a spool file.
struct Payload {
  std::uint64_t size_bytes = 0;
  std::string memory;                ///< all of it when spool_path is empty
  std::filesystem::path spool_path;  ///< removed after the call unless it was moved away
  PayloadDigests digests;
  /// Trailers of an aws-chunked body, names in lower case.
  std::vector<NameValue> trailers;
};

/// One authenticated request.
struct Call {
  std::string method;
  std::string raw_path;            ///< as sent, percent-encoded, without the query
  std::string path;                ///< decoded once
  std::vector<NameValue> query;    ///< decoded, in the order sent; "?acl" has an empty value
  std::vector<NameValue> headers;  ///< names in lower case, in the order sent
  Payload payload;
  std::string host;           ///< the Host header
  std::string request_id;     ///< unique, in the form of the service
  std::string access_key_id;  ///< who signed
  std::string service;        ///< "s3", "ec2", "ebs", "sts"
  std::string operation;      ///< what OperationOf said
  bool presigned = false;     ///< authenticated by query parameters
  /// Further elements of an error answer, as S3 has them: StringToSign, HeadersNotSigned...
  std::vector<NameValue> error_details;

  /// The first header or query parameter of that name (headers: lower case), or nullptr.
  const std::string* FindHeader(std::string_view name) const;
  const std::string* FindQuery(std::string_view name) const;
};

/// A part of an open file, sent as the body without being read into memory.
struct FileBody {
  std::shared_ptr<const sys::File> file;  // shared with the sender: it may be unlinked meanwhile
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

struct Answer {
  int status = 200;
  std::vector<NameValue> headers;  ///< Content-Length, Date and request ids are added by the server
  std::string body;
  std::optional<FileBody> file;  ///< instead of `body`
  /// HEAD: the Content-Length to announce although no body is sent.
  std::optional<std::uint64_t> announced_length_bytes;
  /// Extra fields for the request log: bucket, key, part_number, task id... Never secrets.
  std::vector<NameValue> log_fields;
};

class Service {
 public:
  virtual ~Service() = default;
  /// As in a credential scope: "ec2", "s3", "ebs", "sts".
  virtual std::string_view Name() const = 0;
  /// The operations it carries out, by the names of OperationOf.
  virtual std::vector<std::string> Operations() const { return {}; }
  /// The API operation a request means, for log and faults: "PutObject", "ImportInstance". Empty
  /// when it is none. The payload is in place only for bodies in memory.
  virtual std::string OperationOf(const Call& call) const = 0;
  /// Carries it out. Failures are answers in the service's own error form. The payload may be
  /// moved away (a spool file renamed).
  virtual Answer Handle(Call& call) = 0;
  /// An error in the service's own form, for refusals made before Handle: signature, throttle...
  virtual Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                             const Call& call) const = 0;
};

/// Something in the region with a life of its own: instances, import workers.
class Component {
 public:
  virtual ~Component() = default;
  virtual std::string_view Name() const = 0;
  /// Called in the order of the list once the port is bound, before the first request is served:
  /// adopt what survived, begin work. What is fetched from the region itself waits until all have
  /// started, so Start must not wait for it. An error ends the start of the region.
  virtual Result<void> Start() = 0;
  /// Called in reverse order when the region stops; returns by the deadline. Not called when the
  /// region is killed.
  virtual void Stop(const OpContext& context) = 0;
};

}  // namespace vmferry::region
