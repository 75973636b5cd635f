// SPDX-License-Identifier: Apache-2.0
#include "region/core/signature_v2.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region {
namespace {

/// Query parameters that are part of the resource; "response-..." are too.
constexpr std::array<std::string_view, 33> kOfResource = {
    "accelerate", "acl",        "analytics",         "cors",         "defaultObjectAcl",
    "delete",     "encryption", "inventory",         "lifecycle",    "location",
    "logging",    "metrics",    "notification",      "object-lock",  "ownershipControls",
    "partNumber", "policy",     "publicAccessBlock", "replication",  "requestPayment",
    "restore",    "select",     "select-type",       "storageClass", "tagging",
    "torrent",    "uploadId",   "uploads",           "versionId",    "versioning",
    "versions",   "website",    "legal-hold"};

constexpr std::size_t kSha1BlockBytes = 64;

std::string Sha1(std::string_view first, std::string_view second) {
  codec::Digester digester(codec::DigestKind::kSha1);
  digester.Update(std::as_bytes(std::span(first)));
  digester.Update(std::as_bytes(std::span(second)));
  std::array<std::byte, codec::kMaxDigestBytes> out;
  const auto bytes = digester.Finish(out);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::optional<UrlSignatureV2> ReadUrlSignatureV2(const Call& call) {
  const std::string* key = call.FindQuery("AWSAccessKeyId");
  const std::string* expires = call.FindQuery("Expires");
  const std::string* signature = call.FindQuery("Signature");
  if (key == nullptr || expires == nullptr || signature == nullptr) return std::nullopt;
  const auto seconds = ParseUint(*expires);
  constexpr std::uint64_t kSecondsMax = 1ULL << 33;  // the year 2242
  if (!seconds || *seconds > kSecondsMax) return std::nullopt;
  UrlSignatureV2 claim;
  claim.access_key_id = *key;
  claim.signature = *signature;
  claim.expires_text = *expires;
  claim.expires = WallTime(std::chrono::seconds(*seconds));
  if (const std::string* token = call.FindQuery("x-amz-security-token")) {
    claim.session_token = *token;
  }
  return claim;
}

std::string StringToSignV2(const Call& call, const UrlSignatureV2& claim, std::string_view bucket) {
  std::map<std::string, std::string> amazon;
  std::map<std::string, std::string> resource;
  std::string md5;
  std::string type;
  const auto add = [&](const std::string& name, const std::string& value) {
    if (name == "content-md5") md5 = value;
    if (name == "content-type") type = value;
    if (!name.starts_with("x-amz-")) return;
    std::string& all = amazon[name];
    all += all.empty() ? value : "," + value;
  };
  for (const auto& [name, value] : call.headers) add(name, value);
  for (const auto& [name, value] : call.query) {
    add(name, value);  // clients move headers into the query
    const bool part = std::ranges::find(kOfResource, name) != kOfResource.end();
    if (part || name.starts_with("response-")) resource[name] = value;
  }
  std::string text = fmt::format("{}\n{}\n{}\n{}\n", call.method, md5, type, claim.expires_text);
  for (const auto& [name, value] : amazon) text += fmt::format("{}:{}\n", name, value);
  if (!bucket.empty()) text += fmt::format("/{}", bucket);
  text += call.raw_path;
  char mark = '?';
  for (const auto& [name, value] : resource) {
    text += mark;
    text += name;
    if (!value.empty()) text += "=" + value;
    mark = '&';
  }
  return text;
}

std::string SignV2(std::string_view text, const Secret& secret_access_key) {
  std::string key(secret_access_key.Expose());
  if (key.size() > kSha1BlockBytes) key = Sha1(key, "");
  key.resize(kSha1BlockBytes, '\0');
  std::string inner = key;
  std::string outer = key;
  for (char& c : inner) c = static_cast<char>(c ^ 0x36);
  for (char& c : outer) c = static_cast<char>(c ^ 0x5c);
  const std::string digest = Sha1(outer, Sha1(inner, text));
  return codec::Base64Encode(std::as_bytes(std::span(digest)));
}

}  // namespace vmferry::region
