// SPDX-License-Identifier: Apache-2.0
//
// Endpoints: where the services of one region are, AWS's own or configured ones.
//
// Thread safety: a value.
// Source: AWS SDKs and Tools reference, "Service-specific endpoints"; docs "AWS service endpoints".

#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace vmferry::aws {

enum class Service { kS3, kEc2, kEbs, kSts };
inline constexpr std::array kServices = {Service::kS3, Service::kEc2, Service::kEbs, Service::kSts};

/// The name in signatures, host names and configuration files: "s3".
std::string_view ServiceName(Service service);

/// The partition of a region, as in ARNs: "aws", "aws-cn" or "aws-us-gov".
std::string_view Partition(std::string_view region);

class Endpoints {
 public:
  /// The public endpoints of AWS.
  /// Errors: kInvalidArgument aws.bad_config (not of a region name's form).
  static Result<Endpoints> ForRegion(std::string_view region);
  /// One address for all services, as the embedded region has.
  static Result<Endpoints> Single(std::string_view region, const http::Url& url);

  const std::string& region() const { return region_; }
  const http::Url& Of(Service service) const { return urls_[static_cast<std::size_t>(service)]; }
  void Replace(Service service, http::Url url) {
    urls_[static_cast<std::size_t>(service)] = std::move(url);
  }

  /// True when buckets go into the path instead of the host name whatever the endpoint is.
  bool force_path_style() const { return force_path_style_; }
  void set_force_path_style(bool force) { force_path_style_ = force; }

 private:
  std::string region_;
  std::array<http::Url, kServices.size()> urls_;
  bool force_path_style_ = false;
};

/// True for localhost, names below it, 127.0.0.0/8 and ::1.
bool IsLoopback(std::string_view host);
/// True for an IPv4 or IPv6 address.
bool IsAddress(std::string_view host);

}  // namespace vmferry::aws
