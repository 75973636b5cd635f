// SPDX-License-Identifier: Apache-2.0
//
// Which URLs the import service follows: those of this region, and no others. No request ever
// leaves loopback.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/message.h"
#include "region/core/context.h"

namespace vmferry::region {

/// An object by its place.
struct ObjectName {
  std::string bucket;
  std::string key;
};

/// True when the URL carries a signature of its own, SigV4 or SigV2.
bool IsSignedUrl(std::string_view url);

/// The object that "s3://BUCKET/KEY" or an https URL of this region names, path or virtual-host
/// style. Nothing for others.
std::optional<ObjectName> ObjectOfUrl(std::string_view url, const Settings& settings);

/// A GET request for the URL, addressed to the region's own port. Host names of the region
/// (s3.REGION.amazonaws.com, BUCKET.s3.REGION.amazonaws.com) are kept as Host header, since the
/// URL's signature covers it.
/// Errors: kPermissionDenied region.foreign_url; kInvalidArgument region.foreign_url.
Result<http::Request> LocalRequest(std::string_view url, const Settings& settings);

}  // namespace vmferry::region
