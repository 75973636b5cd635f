// SPDX-License-Identifier: Apache-2.0
//
// The canonical form of a request, the string to sign and the key: AWS Signature Version 4.
//
// Pure functions over a view of the request. Clients sign with sign.h, servers check with verify.h.
//
// Thread safety: no state.
// Source: AWS General Reference, "Signing AWS API requests".

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/secret.h"
#include "codec/digest.h"

namespace vmferry::sigv4 {

inline constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
/// Hex SHA-256 of an empty body.
inline constexpr std::string_view kEmptyPayloadHash =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

using Header = std::pair<std::string, std::string>;

/// A request as it travels. Borrowed for the call.
struct RequestView {
  std::string_view method;
  std::string_view path;            ///< as sent, percent-encoded, without the query
  std::string_view query;           ///< as sent, without the question mark
  std::span<const Header> headers;  ///< any case, any order, repeats allowed
  std::string_view
      payload_hash;  ///< hex SHA-256 of the body, or a literal such as kUnsignedPayload
};

/// What a signature is good for.
struct Scope {
  std::string date;  ///< YYYYMMDD, UTC
  std::string region;
  std::string service;

  /// "20150830/us-east-1/s3/aws4_request".
  std::string ToString() const;
  bool operator==(const Scope&) const = default;
};

/// How a service departs from the general rules. The defaults suit every service but S3.
struct Options {
  bool normalize_path = true;      ///< remove ".", ".." and empty segments before signing
  bool double_encode_path = true;  ///< encode the already encoded path once more
  /// Header form only: also send and sign x-amz-content-sha256.
  bool content_sha256_header = false;
  /// False: the session token is added after signing and is not covered by the signature.
  bool sign_session_token = true;
};
/// S3 signs the path as it is, encoded once, and demands x-amz-content-sha256.
Options S3Options();

/// Percent-encodes everything but A-Z a-z 0-9 - . _ ~ (and '/' when `keep_slash`), upper-case hex.
std::string UriEncode(std::string_view text, bool keep_slash = false);
/// Undoes UriEncode; "%" not followed by two hex digits stays as it is.
std::string UriDecode(std::string_view text);

std::string CanonicalPath(std::string_view path, const Options& options);
/// Names and values encoded once, sorted by name, then value. `skip` names one parameter (decoded)
/// to leave out.
std::string CanonicalQuery(std::string_view query, std::span<const std::string_view> skip = {});
/// The whole canonical request; `signed_headers` are lower-case names, sorted.
/// A signed header that the request does not have counts as empty.
std::string CanonicalRequest(const RequestView& request,
                             std::span<const std::string> signed_headers, const Options& options,
                             std::span<const std::string_view> skip_query = {});

/// "20150830T123600Z".
std::string FormatAmzDate(WallTime time);
/// Reads what FormatAmzDate writes; nothing when it is anything else or no such moment exists.
std::optional<WallTime> ParseAmzDate(std::string_view text);

std::string StringToSign(std::string_view amz_date, const Scope& scope,
                         std::string_view canonical_request);
/// The key of the day, region and service. It is a secret, too.
codec::Sha256Digest SigningKey(const Secret& secret_access_key, const Scope& scope);
/// Lower-case hex.
std::string Sign(const codec::Sha256Digest& signing_key, std::string_view string_to_sign);

}  // namespace vmferry::sigv4
