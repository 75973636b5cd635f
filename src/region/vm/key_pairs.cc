// SPDX-License-Identifier: Apache-2.0
#include "region/vm/key_pairs.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_key_pairs (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, public_key TEXT NOT NULL, create_time INTEGER NOT NULL)",
};
constexpr std::string_view kColumns = "id, name, type, fingerprint, public_key, create_time";
constexpr std::size_t kLineMax = 16384;  // an RSA key of 16,384 bits has 2,800 characters

KeyPair KeyOf(const SqlRow& row) {
  return KeyPair{.id = row.Text(0),
                 .name = row.Text(1),
                 .type = row.Text(2),
                 .fingerprint = row.Text(3),
                 .public_key = row.Text(4),
                 .create_time = row.Int(5)};
}

Error BadKey() {
  return Error(ErrorCode::kInvalidArgument, "region.bad_public_key",
               "Key is not in valid OpenSSH public key format");
}

// RFC 4251 5: a 32-bit length, then so many bytes.
std::optional<std::string_view> TakeString(std::string_view& rest) {
  if (rest.size() < 4) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(rest[i]);
  rest.remove_prefix(4);
  if (length > rest.size()) return std::nullopt;
  const std::string_view taken = rest.substr(0, length);
  rest.remove_prefix(length);
  return taken;
}

// X.690 8.1: tag, length, content.
std::string Der(char tag, std::string_view content) {
  std::string out(1, tag);
  if (content.size() < 0x80) {
    out += static_cast<char>(content.size());
  } else {
    std::string length;
    for (std::size_t rest = content.size(); rest > 0; rest >>= 8) {
      length.insert(length.begin(), static_cast<char>(rest & 0xff));
    }
    out += static_cast<char>(0x80 | length.size());
    out += length;
  }
  return out.append(content);
}

// RFC 3279 2.3.1: SubjectPublicKeyInfo of an RSA key. The integers have the same form in both.
std::string RsaDer(std::string_view exponent, std::string_view modulus) {
  static constexpr std::string_view kRsaEncryption(
      "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
      "\x05\x00",
      13);
  const std::string key = Der('\x30', Der('\x02', modulus) + Der('\x02', exponent));
  return Der('\x30', Der('\x30', kRsaEncryption) + Der('\x03', std::string(1, '\0') + key));
}

std::string Colons(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    if (i > 0) out += ':';
    out += hex.substr(i, 2);
  }
  return out;
}

}  // namespace

Result<KeyPair> ParsePublicKey(std::string_view line) {
  while (!line.empty() && std::string_view(" \r\n\t").find(line.back()) != line.npos) {
    line.remove_suffix(1);
  }
  const std::size_t blank = line.find(' ');
  if (line.size() > kLineMax || blank == line.npos || line.find('\n') != line.npos) return BadKey();
  const std::string_view algorithm = line.substr(0, blank);
  std::string_view encoded = line.substr(blank + 1);
  encoded = encoded.substr(0, encoded.find(' '));
  const auto blob = codec::Base64Decode(encoded);
  if (!blob) return BadKey();
  std::string_view rest = AsText(*blob);
  if (TakeString(rest) != algorithm) return BadKey();
  KeyPair key{.public_key = std::string(line)};
  if (algorithm == "ssh-rsa") {
    const auto exponent = TakeString(rest);
    const auto modulus = TakeString(rest);
    if (!exponent || !modulus || exponent->empty() || modulus->size() < 128 || !rest.empty()) {
      return BadKey();
    }
    key.type = "rsa";
    key.fingerprint = Colons(codec::HexEncode(codec::Md5(AsBytes(RsaDer(*exponent, *modulus)))));
    return key;
  }
  const auto point = TakeString(rest);
  if (algorithm != "ssh-ed25519" || !point || point->size() != 32 || !rest.empty()) return BadKey();
  key.type = "ed25519";
  key.fingerprint = codec::Base64Encode(codec::Sha256(*blob));
  return key;
}

Result<void> KeyPairs::Open(Database& database) {
  return database.Migrate("vm_key_pairs", kSchema);
}

Result<void> KeyPairs::Add(Database& database, const KeyPair& key, const TagMap& tags) {
  return database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> taken,
        transaction.Query("SELECT id FROM vm_key_pairs WHERE name = ?", {key.name}));
    if (!taken.empty()) {
      return Error(ErrorCode::kAlreadyExists, "region.key_pair_exists",
                   fmt::format("The key pair '{}' already exists.", key.name));
    }
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute(
            fmt::format("INSERT INTO vm_key_pairs ({}) VALUES (?,?,?,?,?,?)", kColumns),
            {key.id, key.name, key.type, key.fingerprint, key.public_key, key.create_time}));
    return Tags::SetIn(transaction, key.id, tags);
  });
}

Result<std::vector<KeyPair>> KeyPairs::List(Database& database) {
  return database.WithTransaction([&](Transaction& transaction) -> Result<std::vector<KeyPair>> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found,
        transaction.Query(fmt::format("SELECT {} FROM vm_key_pairs ORDER BY name", kColumns)));
    std::vector<KeyPair> keys;
    for (const SqlRow& row : found) keys.push_back(KeyOf(row));
    return keys;
  });
}

Result<std::optional<KeyPair>> KeyPairs::Remove(Database& database, std::string_view name,
                                                std::string_view id) {
  return database.WithTransaction([&](Transaction& transaction) -> Result<std::optional<KeyPair>> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found,
        transaction.Query(
            fmt::format("SELECT {} FROM vm_key_pairs WHERE name = ? OR id = ?", kColumns),
            {name, id}));
    if (found.empty()) return std::optional<KeyPair>();
    KeyPair key = KeyOf(found[0]);
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute("DELETE FROM vm_key_pairs WHERE id = ?", {key.id}));
    VMFERRY_RETURN_IF_ERROR(Tags::RemoveIn(transaction, key.id));
    return std::optional(std::move(key));
  });
}

}  // namespace vmferry::region::vm
