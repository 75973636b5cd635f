// SPDX-License-Identifier: Apache-2.0
//
// Bucket names: checked before any call, because a bad one can reach a different host.
//
// Source: Amazon S3 user guide, "General purpose bucket naming rules".

#pragma once

#include <string_view>

#include "base/result.h"

namespace vmferry::aws::s3 {

/// 3 to 63 of a-z 0-9 . -, a letter or digit at both ends, no two dots in a row, not like an IPv4
/// address, none of the reserved prefixes (xn--, sthree-, amzn-s3-demo-) and suffixes (-s3alias,
/// --ol-s3, .mrap, --x-s3, --table-s3).
///
/// Errors: kInvalidArgument aws.bucket_invalid.
Result<void> CheckBucketName(std::string_view bucket);

}  // namespace vmferry::aws::s3
