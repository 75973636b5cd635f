// SPDX-License-Identifier: Apache-2.0
#include "region/import/signature_v2.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "sigv4/canonical.h"
#include "sigv4/verify.h"

namespace vmferry::region {
namespace {

std::optional<std::string> Parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const std::size_t equals = pair.find('=');
    if (equals != pair.npos && pair.substr(0, equals) == name) {
      return sigv4::UriDecode(pair.substr(equals + 1));
    }
  }
  return std::nullopt;
}

std::string Sha1(std::string_view head, std::string_view text) {
  codec::Digester digester(codec::DigestKind::kSha1);
  digester.Update(AsBytes(head));
  digester.Update(AsBytes(text));
  std::array<std::byte, codec::kMaxDigestBytes> digest = {};
  return std::string(AsText(digester.Finish(digest)));
}

// RFC 2104, with keys of at most a block.
std::string HmacSha1(std::string_view key, std::string_view text) {
  std::array<char, 64> inner = {};
  std::copy_n(key.begin(), std::min(key.size(), inner.size()), inner.begin());
  std::array<char, 64> outer = inner;
  for (char& c : inner) c = static_cast<char>(c ^ 0x36);
  for (char& c : outer) c = static_cast<char>(c ^ 0x5c);
  return Sha1({outer.data(), outer.size()}, Sha1({inner.data(), inner.size()}, text));
}

}  // namespace

bool IsV2Signed(const http::Url& url) {
  return Parameter(url.query, "AWSAccessKeyId") && Parameter(url.query, "Expires") &&
         Parameter(url.query, "Signature");
}

bool V2SignatureFits(const http::Url& url, const ObjectName& object,
                     const RegionCredentials& credentials, WallTime now) {
  const std::string expires = Parameter(url.query, "Expires").value_or("");
  const auto seconds = ParseUint(expires);
  const auto now_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  if (!seconds || *seconds < static_cast<std::uint64_t>(now_seconds)) return false;
  if (Parameter(url.query, "AWSAccessKeyId") != credentials.access_key_id) return false;
  // The bucket stands before the path, unless it is in the path already.
  const bool in_host = url.host.starts_with(object.bucket + ".");
  const std::string resource = (in_host ? "/" + object.bucket : std::string()) + url.path;
  const std::string signature =
      HmacSha1(credentials.secret_access_key.Expose(), "GET\n\n\n" + expires + "\n" + resource);
  return sigv4::ConstantTimeEquals(codec::Base64Encode(AsBytes(signature)),
                                   Parameter(url.query, "Signature").value_or(""));
}

}  // namespace vmferry::region
