// SPDX-License-Identifier: Apache-2.0
#include "region/ebs/token.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::ebs {
namespace {

constexpr std::array kSchema = {"CREATE TABLE ebs_token_key (key TEXT NOT NULL)"};
constexpr std::size_t kFactsBytes = 16;

void AppendU64(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>((value >> shift) & 0xff);
}

std::string Seal(const std::vector<std::byte>& key, TokenKind kind, std::string_view snapshot_id,
                 std::string_view facts) {
  const std::string text = fmt::format("{}|{}|{}", static_cast<int>(kind), snapshot_id, facts);
  const codec::Sha256Digest seal = codec::HmacSha256(key, AsBytes(text));
  return std::string(AsText(seal));
}

// In a time that does not depend on where they differ.
bool SameBytes(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |=
        static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

}  // namespace

Result<Tokens> Tokens::Open(Database& database, sys::Random& random) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("ebs", kSchema));
  return database.WithTransaction([&](Transaction& transaction) -> Result<Tokens> {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                             transaction.Query("SELECT key FROM ebs_token_key"));
    const std::string hex = rows.empty() ? random.Hex(64) : rows[0].Text(0);
    if (rows.empty()) {
      VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                               transaction.Execute("INSERT INTO ebs_token_key VALUES (?)", {hex}));
    }
    return Tokens(codec::HexDecode(hex).value_or(std::vector<std::byte>()));
  });
}

std::string Tokens::Make(TokenKind kind, std::string_view snapshot_id, std::uint64_t block_index,
                         std::int64_t expires) const {
  std::string facts;
  AppendU64(facts, block_index);
  AppendU64(facts, static_cast<std::uint64_t>(expires));
  return codec::Base64Encode(AsBytes(facts + Seal(key_, kind, snapshot_id, facts)));
}

std::optional<std::uint64_t> Tokens::Check(TokenKind kind, std::string_view snapshot_id,
                                           std::string_view token, std::int64_t now) const {
  const auto bytes = codec::Base64Decode(token);
  if (!bytes || bytes->size() < kFactsBytes) return std::nullopt;
  const std::string_view facts = AsText(*bytes).substr(0, kFactsBytes);
  if (!SameBytes(AsText(*bytes).substr(kFactsBytes), Seal(key_, kind, snapshot_id, facts))) {
    return std::nullopt;
  }
  ByteReader reader(*bytes);
  const std::uint64_t block_index = reader.U64Le();
  const auto expires = static_cast<std::int64_t>(reader.U64Le());
  if (now >= expires) return std::nullopt;
  return block_index;
}

}  // namespace vmferry::region::ebs
