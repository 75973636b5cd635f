// SPDX-License-Identifier: Apache-2.0
#include "image/ova/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "image/ova/damage.h"
#include "image/ova/member_name.h"
#include "text/xml.h"

namespace vmferry::image::ova {
namespace {

using text::Trim;

struct Algorithm {
  std::string_view name;
  codec::DigestKind kind;
  std::size_t digits;
};

constexpr Algorithm kAlgorithms[] = {{"SHA1", codec::DigestKind::kSha1, 40},
                                     {"SHA256", codec::DigestKind::kSha256, 64},
                                     {"SHA512", codec::DigestKind::kSha512, 128}};

/// "sha-256" and "SHA256" are one.
const Algorithm* FindAlgorithm(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c != '-') plain += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  const auto* found = std::find_if(std::begin(kAlgorithms), std::end(kAlgorithms),
                                   [&](const Algorithm& known) { return known.name == plain; });
  return found == std::end(kAlgorithms) ? nullptr : found;
}

Error Malformed(std::size_t number) {
  return Damage("ova.manifest.syntax", fmt::format("line {} of the manifest is malformed", number));
}

Result<ManifestEntry> ParseLine(std::string_view line, std::size_t number) {
  const std::size_t open = line.find('(');
  // The file's name may hold parentheses and equals signs; the digest holds neither.
  const std::size_t equals = line.rfind('=');
  if (open == line.npos || equals == line.npos || equals < open) return Malformed(number);
  const std::size_t close = line.substr(0, equals).rfind(')');
  if (close == line.npos || close < open) return Malformed(number);
  if (!Trim(line.substr(close + 1, equals - close - 1)).empty()) return Malformed(number);
  const std::string_view name = Trim(line.substr(0, open));
  const Algorithm* algorithm = FindAlgorithm(name);
  if (algorithm == nullptr) {
    return Unsupported(
        "ova.manifest.algorithm",
        fmt::format("the manifest uses the digest '{}', which is not known", Shown(name)),
        "check the digests with the program that wrote the manifest");
  }
  const std::string_view digits = Trim(line.substr(equals + 1));
  const bool hexadecimal = std::all_of(digits.begin(), digits.end(),
                                       [](unsigned char c) { return std::isxdigit(c) != 0; });
  if (!hexadecimal || digits.size() != algorithm->digits) return Malformed(number);
  const auto file = NormalizeMemberName(line.substr(open + 1, close - open - 1));
  if (!file) return Malformed(number);
  ManifestEntry entry = {.file = *file, .kind = algorithm->kind, .digest = std::string(digits)};
  std::transform(entry.digest.begin(), entry.digest.end(), entry.digest.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return entry;
}

}  // namespace

Result<std::vector<ManifestEntry>> ParseManifest(std::string_view text) {
  std::vector<ManifestEntry> entries;
  std::set<std::pair<std::string, codec::DigestKind>> seen;
  for (std::size_t number = 1; !text.empty(); ++number) {
    if (number > kMaxManifestLines) {
      return Damage("ova.manifest.too_long",
                    fmt::format("the manifest has more than {} lines", kMaxManifestLines));
    }
    const std::size_t end = text.find('\n');
    const std::string_view line = Trim(text.substr(0, end));
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
    if (line.empty()) continue;
    VMFERRY_ASSIGN_OR_RETURN(ManifestEntry entry, ParseLine(line, number));
    // Checking reads the file once for each line.
    if (!seen.emplace(entry.file, entry.kind).second) return Malformed(number);
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace vmferry::image::ova
