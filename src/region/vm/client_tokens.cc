// SPDX-License-Identifier: Apache-2.0
#include "region/vm/client_tokens.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_client_tokens (operation TEXT NOT NULL, token TEXT NOT NULL, digest TEXT NOT"
    " NULL, result TEXT NOT NULL, PRIMARY KEY (operation, token))",
};

std::string Digest(std::string_view parameters) {
  return codec::HexEncode(codec::Sha256(AsBytes(parameters)));
}

}  // namespace

Result<void> ClientTokens::Open(Database& database) {
  return database.Migrate("vm_client_tokens", kSchema);
}

Result<std::optional<std::string>> ClientTokens::FindIn(Transaction& transaction,
                                                        std::string_view operation,
                                                        std::string_view token,
                                                        std::string_view parameters) {
  if (token.empty()) return std::optional<std::string>();
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query("SELECT digest, result FROM vm_client_tokens WHERE operation = ? AND"
                        " token = ?",
                        {operation, token}));
  if (found.empty()) return std::optional<std::string>();
  if (found[0].Text(0) != Digest(parameters)) {
    // EC2's words, IdempotentParameterMismatch.
    return Error(ErrorCode::kInvalidArgument, "region.client_token_reused",
                 "Arguments on this idempotent request are inconsistent with arguments used in "
                 "previous request(s).");
  }
  return std::optional(found[0].Text(1));
}

Result<void> ClientTokens::RecordIn(Transaction& transaction, std::string_view operation,
                                    std::string_view token, std::string_view parameters,
                                    std::string_view result) {
  if (token.empty()) return {};
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                           transaction.Execute("INSERT INTO vm_client_tokens VALUES (?,?,?,?)",
                                               {operation, token, Digest(parameters), result}));
  return {};
}

}  // namespace vmferry::region::vm
