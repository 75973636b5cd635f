// SPDX-License-Identifier: Apache-2.0
//
// RoleStore: the account's IAM roles, with their trust policies and inline policies.
//
// The IAM service writes them; STS and the import service ask. Each opens a store of its own over
// the one database.
//
// Thread safety: all methods, from any thread.
// Source: AWS IAM API reference 2010-05-08, "Role"; VM Import/Export User Guide, "Required service
// role".

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "region/core/database.h"
#include "region/core/policy_document.h"

namespace vmferry::region {

struct Role {
  std::string name;
  std::string path = "/";  ///< begins and ends with '/'
  std::string id;          ///< AROA and 16 characters
  std::string arn;
  std::string description;
  WallTime created;
  std::int64_t session_seconds_max = 3600;
  std::string trust_policy;                     ///< a JSON document
  std::map<std::string, std::string> policies;  ///< inline: name and JSON document
  std::vector<NameValue> tags;
};

/// True when the role's trust policy lets an AWS service assume it: `keys` are what the service
/// says about its call ("sts:ExternalId", "aws:SourceAccount", "aws:SourceArn").
bool ServiceMayAssume(const Role& role, std::string_view service, std::vector<NameValue> keys);

/// True when the role's inline policies allow the action on the resource (an ARN), and none denies
/// it.
bool RoleAllows(const Role& role, std::string_view action, std::string_view resource);

class RoleStore {
 public:
  /// Makes the tables. The database outlives this.
  static Result<std::unique_ptr<RoleStore>> Open(Database& database);

  /// The role with its policies; nothing when there is none. Names compare without case, as in IAM.
  Result<std::optional<Role>> Find(std::string_view name);
  /// Errors: kAlreadyExists region.role_exists. The role's policies are not looked at.
  Result<void> Add(const Role& role);
  /// False when there is no such role. Its inline policies must be gone.
  /// Errors: kFailedPrecondition region.role_has_policies.
  Result<bool> Remove(std::string_view name);
  /// Roles whose path begins with `path_prefix`, by name, from behind `after`.
  Result<std::vector<Role>> List(std::string_view path_prefix, std::string_view after,
                                 std::uint64_t limit);
  /// False when there is no such role.
  Result<bool> SetTrustPolicy(std::string_view name, std::string_view document);
  /// Adds or replaces an inline policy. False when there is no such role.
  /// Errors: kResourceExhausted region.policies_too_long: all documents together, without blanks,
  /// would exceed `bytes_max`.
  Result<bool> PutPolicy(std::string_view name, std::string_view policy, std::string_view document,
                         std::uint64_t bytes_max);
  enum class PolicyRemoval { kDone, kNoRole, kNoPolicy };
  Result<PolicyRemoval> RemovePolicy(std::string_view name, std::string_view policy);

 private:
  explicit RoleStore(Database& database) : database_(database) {}
  Database& database_;
};

}  // namespace vmferry::region
