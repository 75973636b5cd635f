// SPDX-License-Identifier: Apache-2.0
#include "image/nbd/uri.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "codec/text_codec.h"

namespace vmferry::image::nbd {
namespace {

/// NBD protocol, "Values": names of exports have at most 4,096 bytes; the rest of a URI is short.
constexpr std::size_t kMaxUriBytes = 16 * 1024;
constexpr std::size_t kMaxExportNameBytes = 4096;

/// Not nbds+unix: libnbd has no name to hold the certificate to there, and lets any pass.
constexpr std::array<std::string_view, 3> kSchemes = {"nbd", "nbds", "nbd+unix"};

Error BadUri(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "nbd.uri", std::move(message))
      .WithRemedy(
          "write nbd://HOST:PORT/EXPORT, nbds://HOST:PORT/EXPORT or "
          "nbd+unix:///EXPORT?socket=PATH");
}

/// RFC 3986, section 2.1; nothing when a `%` is not followed by two digits or hides a zero byte.
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    const auto byte = codec::HexDecode(text.substr(i + 1, 2));
    if (!byte || byte->size() != 1 || byte->front() == std::byte{0}) return std::nullopt;
    decoded.push_back(static_cast<char>(byte->front()));
    i += 2;
  }
  return decoded;
}

/// Reads the query; keeps `socket` for libnbd and takes the certificates out.
Result<void> ReadParameters(std::string_view query, bool unix_socket, Uri& uri) {
  bool have_socket = false;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find_first_of("&;"), query.size());
    const std::string_view part = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = std::min(part.find('='), part.size());
    const auto name = PercentDecode(part.substr(0, equals));
    const auto value = PercentDecode(part.substr(std::min(equals + 1, part.size())));
    if (!name || !value) return BadUri("the URI has a '%' that is not followed by two digits");
    if (value->empty()) return BadUri(fmt::format("the parameter '{}' has no value", *name));
    if (*name == "socket" && unix_socket && !have_socket) {
      have_socket = true;
      uri.address += fmt::format("?{}", part);
    } else if (*name == "tls-certificates" && uri.tls && uri.certificates.empty()) {
      uri.certificates = *value;
    } else {
      return BadUri(fmt::format("the parameter '{}' is not taken, or not here", *name));
    }
  }
  if (unix_socket && !have_socket) return BadUri("the parameter 'socket' is missing");
  return {};
}

}  // namespace

bool IsUri(std::string_view location) {
  const std::size_t colon = location.find("://");
  if (colon == std::string_view::npos) return false;
  const std::string_view scheme = location.substr(0, colon);
  return scheme == "nbd" || scheme == "nbds" || scheme.starts_with("nbd+") ||
         scheme.starts_with("nbds+");
}

Result<Uri> ParseUri(std::string_view text) {
  if (text.size() > kMaxUriBytes) return BadUri("the URI is longer than 16 KiB");
  const bool printable = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c > 0x20 && c != 0x7f;  // RFC 3986: neither blanks nor control characters
  });
  if (!printable) return BadUri("the URI has a blank or a control character in it");
  const std::size_t colon = text.find("://");
  if (colon == std::string_view::npos) return BadUri("no :// stands behind a scheme");
  const std::string_view scheme = text.substr(0, colon);
  if (std::find(kSchemes.begin(), kSchemes.end(), scheme) == kSchemes.end()) {
    return BadUri(
        fmt::format("the scheme '{}' is not one of nbd, nbds, nbd+unix", scheme.substr(0, 40)));
  }
  if (text.find('#') != std::string_view::npos) return BadUri("the URI has a fragment");

  Uri uri;
  uri.tls = scheme.starts_with("nbds");
  const bool unix_socket = scheme.ends_with("+unix");
  const std::size_t question = std::min(text.find('?'), text.size());
  const std::string_view address = text.substr(0, question);
  uri.address = address;
  const std::string_view rest = address.substr(colon + 3);
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  // "nbd+unix://" has no host: two slashes and a path would name an export by mistake.
  if (unix_socket && slash != 0) {
    return BadUri("a host stands where nbd+unix has none: three slashes begin the export's name");
  }
  if (!unix_socket && slash == 0) return BadUri("the URI names no host");
  const auto name = PercentDecode(rest.substr(std::min(slash + 1, rest.size())));
  if (!name) return BadUri("the URI has a '%' that is not followed by two digits");
  if (name->size() > kMaxExportNameBytes) {
    return BadUri("the export's name is longer than 4,096 bytes");
  }
  uri.export_name = *name;
  VMFERRY_RETURN_IF_ERROR(
      ReadParameters(text.substr(std::min(question + 1, text.size())), unix_socket, uri));
  return uri;
}

}  // namespace vmferry::image::nbd
