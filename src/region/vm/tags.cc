// SPDX-License-Identifier: Apache-2.0
#include "region/vm/tags.h"

#include <fmt/format.h>

#include <array>

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_tags (resource_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
    " PRIMARY KEY (resource_id, key))",
};
constexpr std::int64_t kTagsMax = 50;  // EC2's limit for one resource

}  // namespace

Result<Tags> Tags::Open(Database& database) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("vm_tags", kSchema));
  return Tags(database);
}

TagMap Tags::Of(std::string_view resource_id) {
  TagMap tags;
  const auto rows = database_->WithTransaction([&](Transaction& transaction) {
    return transaction.Query("SELECT key, value FROM vm_tags WHERE resource_id = ?", {resource_id});
  });
  if (!rows) return tags;
  for (const SqlRow& row : *rows) tags.emplace(row.Text(0), row.Text(1));
  return tags;
}

std::map<std::string, TagMap, std::less<>> Tags::OfAll(std::string_view prefix) {
  std::map<std::string, TagMap, std::less<>> all;
  const auto rows = database_->WithTransaction([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT resource_id, key, value FROM vm_tags WHERE substr(resource_id, 1, ?) = ?",
        {prefix.size(), prefix});
  });
  if (!rows) return all;
  for (const SqlRow& row : *rows) all[row.Text(0)].emplace(row.Text(1), row.Text(2));
  return all;
}

Result<void> Tags::Set(const std::vector<std::string>& resource_ids, const TagMap& tags) {
  return database_->WithTransaction([&](Transaction& transaction) -> Result<void> {
    for (const std::string& id : resource_ids) {
      VMFERRY_RETURN_IF_ERROR(SetIn(transaction, id, tags));
    }
    return {};
  });
}

Result<void> Tags::Remove(const std::vector<std::string>& resource_ids, const Keys& keys) {
  return database_->WithTransaction([&](Transaction& transaction) -> Result<void> {
    for (const std::string& id : resource_ids) {
      if (keys.empty()) VMFERRY_RETURN_IF_ERROR(RemoveIn(transaction, id));
      for (const auto& [key, value] : keys) {
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute("DELETE FROM vm_tags WHERE resource_id = ? AND key = ?"
                                " AND (? OR value = ?)",
                                {id, key, !value.has_value(), value.value_or("")}));
      }
    }
    return {};
  });
}

Result<void> Tags::SetIn(Transaction& transaction, std::string_view resource_id,
                         const TagMap& tags) {
  for (const auto& [key, value] : tags) {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                             transaction.Execute("INSERT OR REPLACE INTO vm_tags VALUES (?, ?, ?)",
                                                 {resource_id, key, value}));
  }
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      transaction.Query("SELECT count(*) FROM vm_tags WHERE resource_id = ?", {resource_id}));
  if (!rows.empty() && rows[0].Int(0) > kTagsMax) {
    return Error(ErrorCode::kResourceExhausted, "region.too_many_tags",
                 fmt::format("{} would have more than {} tags", resource_id, kTagsMax));
  }
  return {};
}

Result<void> Tags::RemoveIn(Transaction& transaction, std::string_view resource_id) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute("DELETE FROM vm_tags WHERE resource_id = ?", {resource_id}));
  return {};
}

}  // namespace vmferry::region::vm
