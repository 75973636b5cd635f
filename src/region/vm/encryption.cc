// SPDX-License-Identifier: Apache-2.0
#include "region/vm/encryption.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_account_settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)"};
constexpr std::string_view kByDefault = "ebs-encryption-by-default";

}  // namespace

Result<Encryption> Encryption::Open(Context& context) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_account_settings", kSchema));
  return Encryption(context);
}

Result<bool> Encryption::ByDefault() {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                           context_->database.WithTransaction([&](Transaction& transaction) {
                             return transaction.Query(
                                 "SELECT value FROM vm_account_settings WHERE name = ?",
                                 {kByDefault});
                           }));
  return !rows.empty() && rows[0].Text(0) == "true";
}

Result<void> Encryption::SetByDefault(bool enabled) {
  return context_->database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute("INSERT OR REPLACE INTO vm_account_settings VALUES (?, ?)",
                            {kByDefault, enabled ? "true" : "false"}));
    return {};
  });
}

std::string Encryption::DefaultKeyArn() const {
  const std::string& account = context_->settings.account_id;
  const std::string hex =
      codec::HexEncode(codec::Sha256(AsBytes("alias/aws/ebs of " + account))).substr(0, 32);
  return fmt::format("arn:aws:kms:{}:{}:key/{}-{}-{}-{}-{}", context_->settings.region_name,
                     account, hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20, 12));
}

bool IsKeyArn(std::string_view text) {
  constexpr std::string_view kStart = "arn:aws";
  const std::size_t key = text.find(":key/");
  return text.size() <= 2048 && text.starts_with(kStart) && text.find(":kms:") < text.size() &&
         key < text.size() && key + 5 < text.size();
}

}  // namespace vmferry::region::vm
