// SPDX-License-Identifier: Apache-2.0
//
// HTTP messages as values, shared by client and server. Knows no AWS.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vmferry::http {

/// Header fields in the order they were added; names compare without case.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  void Add(std::string_view name, std::string_view value);
  /// Replaces every field of that name by one.
  void Set(std::string_view name, std::string_view value);
  void Remove(std::string_view name);
  /// The first value of that name, or nothing.
  std::optional<std::string_view> Find(std::string_view name) const;
  const std::vector<Field>& fields() const { return fields_; }

 private:
  std::vector<Field> fields_;
};

/// True when two header names or tokens are equal without regard to ASCII case.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

/// An absolute http or https URL in its parts. Path and query stay as they were written (encoded).
struct Url {
  std::string scheme;  ///< "http" or "https"
  std::string host;    ///< without brackets for IPv6
  std::uint16_t port = 0;
  std::string path = "/";  ///< begins with '/'
  std::string query;       ///< without '?'

  /// host, or host:port when the port is not the scheme's default: the Host header.
  std::string HostHeader() const;
  std::string ToString() const;
  /// ToString without the query, which may hold a signature: for logs and messages.
  std::string ToLogString() const;
};

/// Errors: kInvalidArgument http.bad_url (other schemes, user info, no host, control characters).
Result<Url> ParseUrl(std::string_view text);

struct Request {
  std::string method = "GET";
  Url url;
  Headers headers;
  /// Not copied: must outlive the call. Content-Length is set from it.
  std::span<const std::byte> body;
};

struct Response {
  int status = 0;
  Headers headers;
  std::string body;
};

/// Percent-encodes all but A-Za-z0-9-._~ (and '/' when `keep_slash`), upper-case hexadecimal.
std::string PercentEncode(std::string_view text, bool keep_slash = false);
/// Decodes %XX; nothing on a malformed escape. '+' stays '+' unless `plus_is_blank`.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank = false);

}  // namespace vmferry::http
