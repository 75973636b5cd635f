// SPDX-License-Identifier: Apache-2.0
#include "aws/s3/bucket_name.h"

#include <fmt/format.h>

#include "aws/core/endpoints.h"

namespace vmferry::aws::s3 {
namespace {

bool IsLetterOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

std::string_view Fault(std::string_view bucket) {
  if (bucket.size() < 3 || bucket.size() > 63) return "is not 3 to 63 characters long";
  for (const char c : bucket) {
    if (!IsLetterOrDigit(c) && c != '.' && c != '-') {
      return "has a character other than a-z, 0-9, dot and hyphen";
    }
  }
  if (!IsLetterOrDigit(bucket.front()) || !IsLetterOrDigit(bucket.back())) {
    return "does not begin and end with a letter or digit";
  }
  if (bucket.find("..") != bucket.npos) return "has two dots in a row";
  if (IsAddress(bucket)) return "looks like an IP address";
  for (const std::string_view prefix : {"xn--", "sthree-", "amzn-s3-demo-"}) {
    if (bucket.starts_with(prefix)) return "begins with a reserved prefix";
  }
  for (const std::string_view suffix : {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}) {
    if (bucket.ends_with(suffix)) return "ends with a reserved suffix";
  }
  return "";
}

}  // namespace

Result<void> CheckBucketName(std::string_view bucket) {
  const std::string_view fault = Fault(bucket);
  if (fault.empty()) return {};
  return Error(ErrorCode::kInvalidArgument, "aws.bucket_invalid",
               fmt::format("bucket name '{}' {}", bucket.substr(0, 80), fault))
      .WithRemedy("use 3 to 63 of a-z, 0-9 and hyphen, like my-migrations-2026");
}

}  // namespace vmferry::aws::s3
