// SPDX-License-Identifier: Apache-2.0
//
// What an S3 request is about: bucket, key and operation.
//
// Thread safety: pure functions.
// Source: Amazon S3 User Guide, "Virtual hosting of general purpose buckets"; operations from
// botocore's model of S3, 2006-03-01.

#pragma once

#include <string>
#include <string_view>

#include "region/core/service.h"

namespace vmferry::region::s3 {

struct Address {
  std::string bucket;  ///< empty: the service itself
  std::string key;     ///< empty: the bucket itself
};

/// Bucket and key, from the Host header (bucket.s3.region.amazonaws.com, bucket.s3.localhost,
/// bucket.localhost) or from the path.
Address AddressOf(const Call& call);

/// "PutObject", "GetBucketAcl"...; empty when method and sub-resource make no operation.
std::string OperationName(const Call& call, const Address& address);

/// Bucket names as AWS allows them today.
bool IsValidBucketName(std::string_view name);

}  // namespace vmferry::region::s3
