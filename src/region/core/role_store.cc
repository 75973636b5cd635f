// SPDX-License-Identifier: Apache-2.0
#include "region/core/role_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/json.h"

namespace vmferry::region {
namespace {

constexpr const char* kMigrations[] = {
    "CREATE TABLE iam_roles (name TEXT COLLATE NOCASE PRIMARY KEY, path TEXT NOT NULL,"
    " id TEXT NOT NULL, arn TEXT NOT NULL, description TEXT NOT NULL, created_ms INTEGER NOT NULL,"
    " session_seconds_max INTEGER NOT NULL, trust_policy TEXT NOT NULL, tags TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE iam_role_policies (role TEXT COLLATE NOCASE NOT NULL REFERENCES iam_roles (name),"
    " name TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (role, name)) WITHOUT ROWID;",
};

constexpr std::string_view kColumns =
    "name, path, id, arn, description, created_ms, session_seconds_max, trust_policy, tags";

std::string TagsText(const std::vector<NameValue>& tags) {
  text::Json list = text::Json::MakeArray();
  for (const auto& [key, value] : tags) {
    text::Json pair = text::Json::MakeArray();
    pair.Append(key).Append(value);
    list.Append(std::move(pair));
  }
  return list.Dump();
}

Role RoleOf(const SqlRow& row) {
  Role role;
  role.name = row.Text(0);
  role.path = row.Text(1);
  role.id = row.Text(2);
  role.arn = row.Text(3);
  role.description = row.Text(4);
  role.created = WallTime(std::chrono::milliseconds(row.Int(5)));
  role.session_seconds_max = row.Int(6);
  role.trust_policy = row.Text(7);
  if (const auto list = text::Json::Parse(row.Text(8))) {
    for (const text::Json& pair : list->Items()) {
      if (pair.Items().size() != 2) continue;
      role.tags.emplace_back(pair.Items()[0].AsString(), pair.Items()[1].AsString());
    }
  }
  return role;
}

/// IAM counts a policy without its blanks (IAM User Guide, "IAM and AWS STS quotas").
std::uint64_t SizeWithoutBlanks(std::string_view document) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      document, [](char c) { return c != ' ' && c != '\t' && c != '\n' && c != '\r'; }));
}

Result<bool> Exists(Transaction& transaction, std::string_view name) {
  VMFERRY_ASSIGN_OR_RETURN(const auto rows,
                           transaction.Query("SELECT 1 FROM iam_roles WHERE name = ?", {name}));
  return !rows.empty();
}

}  // namespace

bool ServiceMayAssume(const Role& role, std::string_view service, std::vector<NameValue> keys) {
  PolicyQuestion question;
  question.service = service;
  question.action = "sts:AssumeRole";
  question.keys = std::move(keys);
  return PolicyAllows(role.trust_policy, PolicyKind::kTrust, question);
}

bool RoleAllows(const Role& role, std::string_view action, std::string_view resource) {
  PolicyQuestion question;
  question.principal_arn = role.arn;
  question.action = action;
  question.resource = resource;
  bool allowed = false;
  for (const auto& [name, document] : role.policies) {
    if (PolicyDenies(document, PolicyKind::kPermissions, question)) return false;
    allowed = allowed || PolicyAllows(document, PolicyKind::kPermissions, question);
  }
  return allowed;
}

Result<std::unique_ptr<RoleStore>> RoleStore::Open(Database& database) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("iam", kMigrations));
  return std::unique_ptr<RoleStore>(new RoleStore(database));
}

Result<std::optional<Role>> RoleStore::Find(std::string_view name) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<std::optional<Role>> {
    VMFERRY_ASSIGN_OR_RETURN(
        const auto rows,
        transaction.Query(fmt::format("SELECT {} FROM iam_roles WHERE name = ?", kColumns),
                          {name}));
    if (rows.empty()) return std::optional<Role>();
    Role role = RoleOf(rows[0]);
    VMFERRY_ASSIGN_OR_RETURN(
        const auto policies,
        transaction.Query("SELECT name, document FROM iam_role_policies WHERE role = ?", {name}));
    for (const SqlRow& row : policies) role.policies.emplace(row.Text(0), row.Text(1));
    return std::optional<Role>(std::move(role));
  });
}

Result<void> RoleStore::Add(const Role& role) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(const bool exists, Exists(transaction, role.name));
    if (exists) {
      return Error(ErrorCode::kAlreadyExists, "region.role_exists",
                   fmt::format("the role {} exists", role.name));
    }
    const auto created_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(role.created.time_since_epoch());
    VMFERRY_RETURN_IF_ERROR(transaction.Execute(
        "INSERT INTO iam_roles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        {role.name, role.path, role.id, role.arn, role.description, created_ms.count(),
         role.session_seconds_max, role.trust_policy, TagsText(role.tags)}));
    return {};
  });
}

Result<bool> RoleStore::Remove(std::string_view name) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<bool> {
    VMFERRY_ASSIGN_OR_RETURN(
        const auto policies,
        transaction.Query("SELECT 1 FROM iam_role_policies WHERE role = ? LIMIT 1", {name}));
    if (!policies.empty()) {
      return Error(ErrorCode::kFailedPrecondition, "region.role_has_policies",
                   fmt::format("the role {} has inline policies", name));
    }
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t removed,
                             transaction.Execute("DELETE FROM iam_roles WHERE name = ?", {name}));
    return removed > 0;
  });
}

Result<std::vector<Role>> RoleStore::List(std::string_view path_prefix, std::string_view after,
                                          std::uint64_t limit) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<std::vector<Role>> {
    VMFERRY_ASSIGN_OR_RETURN(
        const auto rows,
        transaction.Query(
            fmt::format("SELECT {} FROM iam_roles WHERE name > ?1 AND substr(path, 1, length(?2))"
                        " = ?2 ORDER BY name LIMIT ?3",
                        kColumns),
            {after, path_prefix, limit}));
    std::vector<Role> roles;
    for (const SqlRow& row : rows) roles.push_back(RoleOf(row));
    return roles;
  });
}

Result<bool> RoleStore::SetTrustPolicy(std::string_view name, std::string_view document) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<bool> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t changed,
        transaction.Execute("UPDATE iam_roles SET trust_policy = ? WHERE name = ?",
                            {document, name}));
    return changed > 0;
  });
}

Result<bool> RoleStore::PutPolicy(std::string_view name, std::string_view policy,
                                  std::string_view document, std::uint64_t bytes_max) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<bool> {
    VMFERRY_ASSIGN_OR_RETURN(const bool exists, Exists(transaction, name));
    if (!exists) return false;
    VMFERRY_ASSIGN_OR_RETURN(
        const auto others,
        transaction.Query("SELECT document FROM iam_role_policies WHERE role = ? AND name <> ?",
                          {name, policy}));
    std::uint64_t bytes = SizeWithoutBlanks(document);
    for (const SqlRow& row : others) bytes += SizeWithoutBlanks(row.Text(0));
    if (bytes > bytes_max) {
      return Error(ErrorCode::kResourceExhausted, "region.policies_too_long",
                   fmt::format("the role's policies would take {} bytes", bytes));
    }
    VMFERRY_RETURN_IF_ERROR(transaction.Execute(
        "INSERT OR REPLACE INTO iam_role_policies VALUES ((SELECT name FROM iam_roles WHERE name ="
        " ?1), ?2, ?3)",
        {name, policy, document}));
    return true;
  });
}

Result<RoleStore::PolicyRemoval> RoleStore::RemovePolicy(std::string_view name,
                                                         std::string_view policy) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<PolicyRemoval> {
    VMFERRY_ASSIGN_OR_RETURN(const bool exists, Exists(transaction, name));
    if (!exists) return PolicyRemoval::kNoRole;
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t removed,
        transaction.Execute("DELETE FROM iam_role_policies WHERE role = ? AND name = ?",
                            {name, policy}));
    return removed > 0 ? PolicyRemoval::kDone : PolicyRemoval::kNoPolicy;
  });
}

}  // namespace vmferry::region
