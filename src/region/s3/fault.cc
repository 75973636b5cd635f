// SPDX-License-Identifier: Apache-2.0
#include "region/s3/fault.h"

#include <fmt/format.h>

#include "region/core/request_ids.h"
#include "text/xml.h"

namespace vmferry::region::s3 {

S3Fault NoSuchBucket(std::string_view bucket) {
  return {404,
          "NoSuchBucket",
          "The specified bucket does not exist",
          {{"BucketName", std::string(bucket)}}};
}

S3Fault NoSuchKey(std::string_view key) {
  return {404, "NoSuchKey", "The specified key does not exist.", {{"Key", std::string(key)}}};
}

S3Fault NoSuchUpload(std::string_view upload_id) {
  return {404,
          "NoSuchUpload",
          "The specified upload does not exist. The upload ID may be invalid, or the upload may "
          "have been aborted or completed.",
          {{"UploadId", std::string(upload_id)}}};
}

S3Fault InvalidArgument(std::string_view message, std::string_view name, std::string_view value) {
  return {400,
          "InvalidArgument",
          std::string(message),
          {{"ArgumentName", std::string(name)}, {"ArgumentValue", std::string(value)}}};
}

S3Fault InvalidRequest(std::string_view message) {
  return {400, "InvalidRequest", std::string(message), {}};
}

S3Fault MalformedXml() {
  return {400,
          "MalformedXML",
          "The XML you provided was not well-formed or did not validate against our published "
          "schema",
          {}};
}

S3Fault PreconditionFailed(std::string_view condition) {
  return {412,
          "PreconditionFailed",
          "At least one of the pre-conditions you specified did not hold",
          {{"Condition", std::string(condition)}}};
}

S3Fault NotImplemented(std::string_view what) {
  return {501,
          "NotImplemented",
          fmt::format("The embedded region does not model {}.", what),
          {{"Header", std::string(what)}}};
}

S3Fault Internal(const Error& error) {
  if (error.code() == ErrorCode::kResourceExhausted) {
    return {503, "ServiceUnavailable", "The region's disk is full: no space is left.", {}};
  }
  return {500, "InternalError", "We encountered an internal error. Please try again.", {}};
}

Answer FaultAnswer(const S3Fault& fault, const Call& call) {
  Answer answer;
  answer.status = fault.status;
  answer.headers = {{"Content-Type", "application/xml"}};
  answer.log_fields = {{"error_code", fault.code}};
  if (call.method == "HEAD") return answer;
  text::XmlWriter xml;
  xml.Open("Error").Element("Code", fault.code).Element("Message", fault.message);
  for (const auto& [name, value] : fault.details) xml.Element(name, value);
  xml.Element("RequestId", call.request_id).Element("HostId", HostIdFor(call.request_id));
  answer.body = xml.Finish();
  return answer;
}

Answer XmlAnswer(std::string body) {
  Answer answer;
  answer.headers = {{"Content-Type", "application/xml"}};
  answer.body = std::move(body);
  return answer;
}

}  // namespace vmferry::region::s3
