// SPDX-License-Identifier: Apache-2.0
#include "http/message.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace vmferry::http {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::uint16_t DefaultPort(std::string_view scheme) { return scheme == "https" ? 443 : 80; }

Error BadUrl(std::string_view why) {
  // The text itself may carry a signature: it is not repeated.
  return Error(ErrorCode::kInvalidArgument, "http.bad_url", fmt::format("a URL {}", why))
      .WithRemedy("write it like http://127.0.0.1:8014/");
}

}  // namespace

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

void Headers::Add(std::string_view name, std::string_view value) {
  fields_.emplace_back(name, value);
}

void Headers::Set(std::string_view name, std::string_view value) {
  Remove(name);
  Add(name, value);
}

void Headers::Remove(std::string_view name) {
  std::erase_if(fields_, [&](const Field& field) { return EqualsIgnoreCase(field.first, name); });
}

std::optional<std::string_view> Headers::Find(std::string_view name) const {
  for (const Field& field : fields_) {
    if (EqualsIgnoreCase(field.first, name)) return field.second;
  }
  return std::nullopt;
}

std::string Url::HostHeader() const {
  const std::string name = host.find(':') == host.npos ? host : "[" + host + "]";
  return port == DefaultPort(scheme) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::ToString() const { return ToLogString() + (query.empty() ? "" : "?" + query); }

std::string Url::ToLogString() const {
  return fmt::format("{}://{}{}", scheme, HostHeader(), path);
}

Result<Url> ParseUrl(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return c <= ' ' || c == '\x7f'; })) {
    return BadUrl("holds blanks or control characters");
  }
  Url url;
  const std::size_t scheme_end = text.find("://");
  if (scheme_end == text.npos) return BadUrl("has no scheme");
  for (const char c : text.substr(0, scheme_end)) url.scheme += Lower(c);
  if (url.scheme != "http" && url.scheme != "https") return BadUrl("is neither http nor https");
  text.remove_prefix(scheme_end + 3);
  text = text.substr(0, text.find('#'));

  const std::size_t authority_end = text.find_first_of("/?");
  std::string_view authority = text.substr(0, authority_end);
  if (authority.find('@') != authority.npos) return BadUrl("holds user information");
  std::string_view port_text;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    if (close == authority.npos) return BadUrl("has a broken IPv6 address");
    url.host = authority.substr(1, close - 1);
    port_text = authority.substr(close + 1);
  } else {
    const std::size_t colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != authority.npos) port_text = authority.substr(colon);
  }
  if (url.host.empty()) return BadUrl("has no host");
  url.port = DefaultPort(url.scheme);
  if (!port_text.empty() && port_text != ":") {
    const auto port = port_text[0] == ':' ? ParseUint(port_text.substr(1)) : std::nullopt;
    if (!port || *port == 0 || *port > 65535) return BadUrl("has a bad port");
    url.port = static_cast<std::uint16_t>(*port);
  }

  if (authority_end == text.npos) return url;
  text.remove_prefix(authority_end);
  const std::size_t question = text.find('?');
  const std::string_view path = text.substr(0, question);
  if (!path.empty()) url.path = path;
  if (question != text.npos) url.query = text.substr(question + 1);
  return url;
}

std::string PercentEncode(std::string_view text, bool keep_slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool unreserved = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                            (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (unreserved || (keep_slash && c == '/')) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kDigits[byte >> 4];
    encoded += kDigits[byte & 15];
  }
  return encoded;
}

std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_blank) {
      decoded += ' ';
      continue;
    }
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexValue(text[i + 1]);
    const int low = HexValue(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

}  // namespace vmferry::http
