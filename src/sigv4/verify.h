// SPDX-License-Identifier: Apache-2.0
//
// Checking signatures, for servers: what a request claims, and what its signature should be.
//
// Which moment, region, service and headers a server accepts is the server's decision; here is only
// what the claim says and whether the signature fits it.
//
// Thread safety: no state.
// Source: Amazon S3 API reference, "Authenticating requests (AWS Signature Version 4)".

#pragma once

#include <chrono>

#include "base/result.h"
#include "sigv4/canonical.h"

namespace vmferry::sigv4 {

/// Bound on the number of signed headers; clients sign fewer than twenty.
inline constexpr std::size_t kMaxSignedHeaders = 128;

/// A signature and what it says about itself.
struct Claim {
  bool query_form = false;  ///< pre-signed URL
  std::string access_key_id;
  Scope scope;
  std::string amz_date;  ///< as sent: X-Amz-Date, or the Date header in the same form
  WallTime time;         ///< the same
  std::vector<std::string> signed_headers;  ///< lower case, in the order of the claim
  std::string signature;                    ///< 64 lower-case hex digits
  std::chrono::seconds expires{0};          ///< query form only, 1 to 604800
  std::string session_token;                ///< as sent; may be empty

  /// True when the (lower-case) header is covered.
  bool Signs(std::string_view header) const;
};

/// Reads an Authorization header's value.
///
/// Errors: kUnauthenticated  sigv4.bad_authorization  not of the documented form;
///                           sigv4.bad_date           amz_date is no date.
Result<Claim> ParseAuthorization(std::string_view authorization, std::string_view amz_date);

/// Reads the X-Amz-* parameters of a pre-signed URL's query.
///
/// Errors: kUnauthenticated  sigv4.bad_query  a parameter is missing, twice there, or malformed;
///                           sigv4.bad_date   X-Amz-Date is no date.
Result<Claim> ParsePresignedQuery(std::string_view query);

/// The claim of a request: the Authorization header if it has one, else the query.
///
/// Errors: also kUnauthenticated  sigv4.missing  the request carries neither.
Result<Claim> ParseClaim(const RequestView& request);

/// Everything a server says when signatures differ (S3 sends the texts back).
struct Computation {
  std::string canonical_request;
  std::string string_to_sign;
  std::string signature;
};
/// What the signature should be. With options.sign_session_token unset, the token of a query is
/// left out.
Computation ComputeSignature(const Claim& claim, const RequestView& request,
                             const Secret& secret_access_key, const Options& options);

/// Compares in a time that depends on the lengths only.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

}  // namespace vmferry::sigv4
