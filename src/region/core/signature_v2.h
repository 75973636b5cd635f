// SPDX-License-Identifier: Apache-2.0
//
// Pre-signed URLs of S3 with Signature Version 2: old import manifests hold them, and boto3 still
// makes them where nobody asks for version 4. Requests signed in headers with version 2 are
// refused.
//
// Thread safety: pure functions.
// Source: Amazon S3 User Guide (2006-03-01), "Signing and authenticating REST requests", "Query
// string request authentication alternative".

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/secret.h"
#include "region/core/service.h"

namespace vmferry::region {

/// What such a URL says.
struct UrlSignatureV2 {
  std::string access_key_id;
  std::string signature;  ///< base64
  std::string expires_text;
  WallTime expires;
  std::string session_token;
};

/// Reads AWSAccessKeyId, Expires and Signature of a query; nothing when one is missing or Expires
/// is no time.
std::optional<UrlSignatureV2> ReadUrlSignatureV2(const Call& call);

/// What is signed. `bucket` is that of a virtual-host style name, "" for path style.
std::string StringToSignV2(const Call& call, const UrlSignatureV2& claim, std::string_view bucket);

/// base64(HMAC-SHA-1(secret, text))
std::string SignV2(std::string_view text, const Secret& secret_access_key);

}  // namespace vmferry::region
