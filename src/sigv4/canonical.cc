// SPDX-License-Identifier: Apache-2.0
#include "sigv4/canonical.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"

namespace vmferry::sigv4 {
namespace {

bool IsUnreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

char ToLower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return ToLower(x) == ToLower(y); });
}

// RFC 3986, 5.2.4, and empty segments removed as well; a trailing slash stays.
std::string NormalizePath(std::string_view path) {
  std::vector<std::string_view> kept;
  std::size_t begin = 0;
  bool trailing_slash = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
  while (begin <= path.size()) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment == "..") {
      if (!kept.empty()) kept.pop_back();
    } else if (!segment.empty() && segment != ".") {
      kept.push_back(segment);
    }
    begin = end + 1;
  }
  std::string normal;
  for (const std::string_view segment : kept) normal.append("/").append(segment);
  if (normal.empty() || trailing_slash) normal.append("/");
  return normal;
}

// Outer blanks removed, inner runs of blanks made one space.
void AppendTrimmed(std::string& out, std::string_view value) {
  bool pending = false;
  bool any = false;
  for (const char c : value) {
    if (IsBlank(c)) {
      pending = any;
      continue;
    }
    if (pending) out.push_back(' ');
    pending = false;
    any = true;
    out.push_back(c);
  }
}

}  // namespace

std::string Scope::ToString() const {
  return date + "/" + region + "/" + service + "/aws4_request";
}

Options S3Options() {
  return {.normalize_path = false, .double_encode_path = false, .content_sha256_header = true};
}

std::string UriEncode(std::string_view text, bool keep_slash) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (IsUnreserved(c) || (keep_slash && c == '/')) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out.push_back('%');
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    }
  }
  return out;
}

std::string UriDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexValue(text[i + 1]) >= 0 &&
        HexValue(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(HexValue(text[i + 1]) * 16 + HexValue(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string CanonicalPath(std::string_view path, const Options& options) {
  if (path.empty()) return "/";
  const std::string normal = options.normalize_path ? NormalizePath(path) : std::string(path);
  return UriEncode(options.double_encode_path ? normal : UriDecode(normal), true);
}

std::string CanonicalQuery(std::string_view query, std::span<const std::string_view> skip) {
  std::vector<std::pair<std::string, std::string>> parameters;
  std::size_t begin = 0;
  while (begin < query.size()) {
    const std::size_t end = std::min(query.find('&', begin), query.size());
    const std::string_view parameter = query.substr(begin, end - begin);
    begin = end + 1;
    if (parameter.empty()) continue;
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    const std::string name = UriDecode(parameter.substr(0, equals));
    if (std::find(skip.begin(), skip.end(), name) != skip.end()) continue;
    const std::string_view value =
        equals < parameter.size() ? parameter.substr(equals + 1) : std::string_view();
    parameters.emplace_back(UriEncode(name), UriEncode(UriDecode(value)));
  }
  std::sort(parameters.begin(), parameters.end());
  std::string out;
  for (const auto& [name, value] : parameters) {
    if (!out.empty()) out.push_back('&');
    out.append(name).append("=").append(value);
  }
  return out;
}

std::string CanonicalRequest(const RequestView& request,
                             std::span<const std::string> signed_headers, const Options& options,
                             std::span<const std::string_view> skip_query) {
  std::string out(request.method);
  out.append("\n").append(CanonicalPath(request.path, options));
  out.append("\n").append(CanonicalQuery(request.query, skip_query)).append("\n");
  std::string names;
  for (const std::string& name : signed_headers) {
    out.append(name).append(":");
    bool first = true;
    for (const auto& [header, value] : request.headers) {
      if (!EqualsIgnoringCase(header, name)) continue;
      if (!first) out.push_back(',');
      AppendTrimmed(out, value);
      first = false;
    }
    out.push_back('\n');
    if (!names.empty()) names.push_back(';');
    names.append(name);
  }
  out.append("\n").append(names).append("\n").append(request.payload_hash);
  return out;
}

std::string FormatAmzDate(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  char text[32];
  std::snprintf(text, sizeof text, "%04d%02u%02uT%02d%02d%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()));
  return text;
}

std::optional<WallTime> ParseAmzDate(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  const auto number = [&](std::size_t begin, std::size_t count) -> std::optional<int> {
    const auto value = ParseUint(text.substr(begin, count));
    if (!value) return std::nullopt;
    return static_cast<int>(*value);
  };
  const auto year = number(0, 4), month = number(4, 2), day = number(6, 2);
  const auto hour = number(9, 2), minute = number(11, 2), second = number(13, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  // The system's clock counts nanoseconds in 64 bits: it ends in 2262.
  if (*year < 1970 || *year > 2261) return std::nullopt;
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return WallTime(std::chrono::sys_days(date) + std::chrono::hours(*hour) +
                  std::chrono::minutes(*minute) + std::chrono::seconds(*second));
}

std::string StringToSign(std::string_view amz_date, const Scope& scope,
                         std::string_view canonical_request) {
  std::string out(kAlgorithm);
  out.append("\n").append(amz_date).append("\n").append(scope.ToString()).append("\n");
  out.append(codec::HexEncode(codec::Sha256(AsBytes(canonical_request))));
  return out;
}

codec::Sha256Digest SigningKey(const Secret& secret_access_key, const Scope& scope) {
  const Secret start("AWS4" + std::string(secret_access_key.Expose()));
  auto key = codec::HmacSha256(AsBytes(start.Expose()), AsBytes(scope.date));
  for (const std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service),
        std::string_view("aws4_request")}) {
    key = codec::HmacSha256(key, AsBytes(part));
  }
  return key;
}

std::string Sign(const codec::Sha256Digest& signing_key, std::string_view string_to_sign) {
  return codec::HexEncode(codec::HmacSha256(signing_key, AsBytes(string_to_sign)));
}

}  // namespace vmferry::sigv4
