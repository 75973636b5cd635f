// SPDX-License-Identifier: Apache-2.0
//
// What AWS answers when it refuses, as an Error with one of our reasons.
//
// AWS has thousands of codes; ours are few, and AWS's own code, message, request id and HTTP status
// are kept as the facts aws_code, aws_message, request_id and http_status.
//
// Thread safety: pure functions.
// Source: EC2 API reference, "Error codes"; Amazon S3 API reference, "Error responses"; EBS direct
// APIs reference, "Common errors".

#pragma once

#include "aws/core/endpoints.h"
#include "base/result.h"
#include "http/message.h"

namespace vmferry::aws {

/// Reads the body of a response whose status is not 2xx: EC2 XML, STS XML, S3 XML (or none, after
/// HEAD), EBS JSON.
///
/// Reasons: docs/errors.md, "aws".
Error ErrorFromResponse(Service service, std::string_view operation,
                        const http::Response& response);

/// The same for a code that came inside a successful response (DeleteObjects).
Error ErrorFromCode(std::string_view operation, std::string_view aws_code,
                    std::string_view aws_message, int http_status = 0);

/// A 2xx response that cannot be what it should be: kDataLoss aws.bad_response, transient.
Error BadResponse(std::string_view operation, std::string why);

/// The request id of a response; empty when there is none.
std::string RequestId(const http::Response& response);

/// True when the request may have been carried out although it failed: its connection broke, it
/// timed out, or the service failed inside. Callers then look before they repeat.
bool OutcomeUnknown(const Error& error);

}  // namespace vmferry::aws
