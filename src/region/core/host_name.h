// SPDX-License-Identifier: Apache-2.0
//
// What a Host header names: a service, perhaps a region, perhaps a bucket.
//
// Thread safety: pure functions.
// Source: AWS General Reference, "Service endpoints"; Amazon S3 User Guide, "Virtual hosting of
// buckets".

#pragma once

#include <string>
#include <string_view>

namespace vmferry::region {

struct HostName {
  /// "s3", "ec2", "ebs", "sts", "iam"; "" for an address, a foreign name, or a service that the
  /// region does not have.
  std::string service;
  std::string region;  ///< "" on a global endpoint (iam.amazonaws.com, s3.amazonaws.com)
  std::string bucket;  ///< of a virtual-host style name
};

/// Reads a Host header, with or without a port, in any case. `<bucket>.localhost`,
/// `s3.localhost` and `<bucket>.s3.localhost` are S3 too.
HostName ParseHost(std::string_view host);

}  // namespace vmferry::region
