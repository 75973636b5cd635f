// SPDX-License-Identifier: Apache-2.0
//
// Signing for clients: the headers to add to a request, or the query of a pre-signed URL.
//
// Thread safety: no state.
// Source: Amazon S3 API reference, "Authenticating requests (AWS Signature Version 4)".

#pragma once

#include <chrono>

#include "sigv4/canonical.h"

namespace vmferry::sigv4 {

/// Longest life of a pre-signed URL.
inline constexpr std::chrono::seconds kMaxExpires{604800};

struct Credentials {
  std::string access_key_id;
  Secret secret_access_key;
  Secret session_token;             ///< empty for long-term keys
  std::optional<WallTime> expires;  ///< unknown or never when absent
};

/// Where and when a request is signed.
struct Signing {
  std::string_view region;
  std::string_view service;
  WallTime time;
  Options options;
};

/// The headers to add to the request: X-Amz-Date, X-Amz-Security-Token and x-amz-content-sha256 as
/// needed, Authorization.
///
/// Every header of the request is signed except authorization, connection, expect, user-agent,
/// x-amzn-trace-id and transfer-encoding, which proxies and HTTP libraries change. The request must
/// carry Host.
std::vector<Header> SignHeaders(const RequestView& request, const Credentials& credentials,
                                const Signing& signing);

/// The complete query of a pre-signed URL: the request's own, then the X-Amz-* parameters with the
/// signature last.
///
/// Pre:  1 s <= expires <= kMaxExpires; the headers hold at least Host, and all of them are signed.
///       S3 wants kUnsignedPayload as payload hash.
std::string Presign(const RequestView& request, const Credentials& credentials,
                    const Signing& signing, std::chrono::seconds expires);

}  // namespace vmferry::sigv4
