// SPDX-License-Identifier: Apache-2.0
#include "aws/core/endpoints.h"

#include <fmt/format.h>

#include <algorithm>

namespace vmferry::aws {
namespace {

Result<void> CheckRegionName(std::string_view region) {
  const bool plain = std::all_of(region.begin(), region.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!plain || region.empty() || region.size() > 32 || region.front() == '-' ||
      region.back() == '-') {
    return Error(ErrorCode::kInvalidArgument, "aws.bad_config",
                 fmt::format("'{}' is not the name of a region", region))
        .WithRemedy("write it like eu-central-1");
  }
  return {};
}

}  // namespace

std::string_view ServiceName(Service service) {
  switch (service) {
    case Service::kS3:
      return "s3";
    case Service::kEc2:
      return "ec2";
    case Service::kEbs:
      return "ebs";
    case Service::kSts:
      return "sts";
  }
  return "";
}

std::string_view Partition(std::string_view region) {
  if (region.starts_with("cn-")) return "aws-cn";
  if (region.starts_with("us-gov-")) return "aws-us-gov";
  return "aws";
}

Result<Endpoints> Endpoints::ForRegion(std::string_view region) {
  VMFERRY_RETURN_IF_ERROR(CheckRegionName(region));
  Endpoints endpoints;
  endpoints.region_ = region;
  const std::string_view suffix =
      Partition(region) == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com";
  for (const Service service : kServices) {
    endpoints.Replace(service,
                      {.scheme = "https",
                       .host = fmt::format("{}.{}.{}", ServiceName(service), region, suffix),
                       .port = 443});
  }
  return endpoints;
}

Result<Endpoints> Endpoints::Single(std::string_view region, const http::Url& url) {
  VMFERRY_RETURN_IF_ERROR(CheckRegionName(region));
  Endpoints endpoints;
  endpoints.region_ = region;
  for (const Service service : kServices) endpoints.Replace(service, url);
  return endpoints;
}

bool IsAddress(std::string_view host) {
  if (host.find(':') != host.npos) return true;
  return !host.empty() && host.find_first_not_of("0123456789.") == host.npos;
}

bool IsLoopback(std::string_view host) {
  return http::EqualsIgnoreCase(host, "localhost") || host.ends_with(".localhost") ||
         host == "::1" || (host.starts_with("127.") && IsAddress(host));
}

}  // namespace vmferry::aws
