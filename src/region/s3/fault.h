// SPDX-License-Identifier: Apache-2.0
//
// S3Fault: an S3 error, and its XML.
//
// Source: Amazon S3 API reference, "Error responses".

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "region/core/service.h"

namespace vmferry::region::s3 {

struct S3Fault {
  int status = 400;
  std::string code;
  std::string message;
  std::vector<NameValue> details;  ///< further elements of the error document
};

/// What a handler returns.
using Outcome = std::variant<Answer, S3Fault>;
/// What a check returns: nothing when all is well.
using MaybeFault = std::optional<S3Fault>;

S3Fault NoSuchBucket(std::string_view bucket);
S3Fault NoSuchKey(std::string_view key);
S3Fault NoSuchUpload(std::string_view upload_id);
S3Fault InvalidArgument(std::string_view message, std::string_view name, std::string_view value);
S3Fault InvalidRequest(std::string_view message);
S3Fault MalformedXml();
S3Fault PreconditionFailed(std::string_view condition);
/// 501, naming what is absent: "GetBucketAcl", "the header x-amz-tagging".
S3Fault NotImplemented(std::string_view what);
/// A failure of the region itself: a full disk is 503 ServiceUnavailable, all else 500.
S3Fault Internal(const Error& error);

/// The error document; HEAD answers have none.
Answer FaultAnswer(const S3Fault& fault, const Call& call);
/// 200 with an XML body.
Answer XmlAnswer(std::string body);

}  // namespace vmferry::region::s3
