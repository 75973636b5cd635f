// SPDX-License-Identifier: Apache-2.0
#include "region/core/session_token.h"

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "sigv4/verify.h"
#include "text/json.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kTokenBytesMax = 4096;
constexpr std::size_t kSealBytes = 32;
constexpr std::size_t kSecretCharacters = 40;
constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// One key for seals, one for secrets.
codec::Sha256Digest KeyOf(const RegionCredentials& account, std::string_view purpose) {
  return codec::HmacSha256(Bytes(account.secret_access_key.Expose()), Bytes(purpose));
}

Secret SecretOf(const RegionCredentials& account, std::string_view content) {
  const auto key = KeyOf(account, "vmferry session secret 1");
  return Secret(
      codec::Base64Encode(codec::HmacSha256(key, Bytes(content))).substr(0, kSecretCharacters));
}

Session SessionOf(const text::Json& json) {
  Session session;
  session.access_key_id = json["key"].AsString();
  session.arn = json["arn"].AsString();
  session.user_id = json["id"].AsString();
  session.role_arn = json["role"].AsString();
  session.expires = WallTime(std::chrono::seconds(json["expires"].AsInt()));
  return session;
}

}  // namespace

Session IssueSession(const RegionCredentials& account, std::string_view arn,
                     std::string_view user_id, std::string_view role_arn, WallTime expires,
                     sys::Random& random) {
  std::string key = "ASIA";
  for (int i = 0; i < 16; ++i) key.push_back(kBase32[random.Below(kBase32.size())]);
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(expires.time_since_epoch()).count();
  text::Json json;
  json.Set("key", key).Set("expires", static_cast<std::int64_t>(seconds)).Set("arn", arn);
  json.Set("id", user_id).Set("role", role_arn);
  std::string content = json.Dump();
  Session session = SessionOf(json);
  session.secret_access_key = SecretOf(account, content);
  const auto seal = codec::HmacSha256(KeyOf(account, "vmferry session seal 1"), Bytes(content));
  content.insert(0, AsText(seal));
  session.token = codec::Base64Encode(Bytes(content));
  return session;
}

std::optional<Session> OpenSession(const RegionCredentials& account, std::string_view token) {
  if (token.size() > kTokenBytesMax) return std::nullopt;
  const auto decoded = codec::Base64Decode(token);
  if (!decoded || decoded->size() <= kSealBytes) return std::nullopt;
  const std::string_view all = AsText(*decoded);
  const std::string_view content = all.substr(kSealBytes);
  const auto seal = codec::HmacSha256(KeyOf(account, "vmferry session seal 1"), Bytes(content));
  if (!sigv4::ConstantTimeEquals(AsText(seal), all.substr(0, kSealBytes))) return std::nullopt;
  const auto json = text::Json::Parse(content);
  if (!json) return std::nullopt;
  Session session = SessionOf(*json);
  session.secret_access_key = SecretOf(account, content);
  session.token = token;
  return session;
}

}  // namespace vmferry::region
