// SPDX-License-Identifier: Apache-2.0
//
// IamService: roles with their trust policies and inline policies, as much of IAM as the service
// role of imports needs. Everything else is refused by name.
//
// Roles are kept, and STS and the import service ask them; the region authorises nothing else.
//
// Thread safety: as Service asks.
// Source: AWS IAM API reference, 2010-05-08.

#pragma once

#include <memory>
#include <variant>

#include "region/core/context.h"
#include "region/core/query_protocol.h"
#include "region/core/role_store.h"
#include "region/core/service.h"

namespace vmferry::region::iam {

/// An error of IAM.
struct IamFault {
  int status = 400;
  std::string code;
  std::string message;
};

class IamService final : public Service {
 public:
  /// Makes the tables. The context outlives the service.
  static Result<std::unique_ptr<IamService>> Open(const Context& context);

  std::string_view Name() const override { return "iam"; }
  std::vector<std::string> Operations() const override;
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  /// The XML inside <OPERATIONResult>, "" for operations without one; or the error.
  using Outcome = std::variant<std::string, IamFault>;
  using Handler = Outcome (IamService::*)(const QueryParameters&);

  IamService(const Context& context, std::unique_ptr<RoleStore> roles)
      : context_(context), roles_(std::move(roles)) {}
  static std::span<const std::pair<std::string_view, Handler>> Handlers();
  static Handler HandlerOf(std::string_view operation);

  // roles.cc
  Outcome CreateRole(const QueryParameters& parameters);
  Outcome GetRole(const QueryParameters& parameters);
  Outcome DeleteRole(const QueryParameters& parameters);
  Outcome ListRoles(const QueryParameters& parameters);
  Outcome UpdateAssumeRolePolicy(const QueryParameters& parameters);
  // policies.cc
  Outcome PutRolePolicy(const QueryParameters& parameters);
  Outcome GetRolePolicy(const QueryParameters& parameters);
  Outcome DeleteRolePolicy(const QueryParameters& parameters);
  Outcome ListRolePolicies(const QueryParameters& parameters);
  Outcome ListNothing(const QueryParameters& parameters);

  /// The role named by the parameter RoleName.
  std::variant<Role, IamFault> NamedRole(const QueryParameters& parameters);

  const Context& context_;
  const std::unique_ptr<RoleStore> roles_;
};

IamFault ValidationError(std::string_view value, std::string_view member,
                         std::string_view constraint);
IamFault NoSuchRole(std::string_view name);
IamFault NotModelled(std::string_view what);
/// A failure of the region itself, or of a policy document.
IamFault FaultOf(const Error& error);

/// Nothing when `value` is 1 to `most` characters of A-Za-z0-9_+=,.@- .
std::optional<IamFault> CheckName(std::string_view value, std::string_view member,
                                  std::size_t most);

struct PageRequest {
  std::string after;
  std::uint64_t most = 100;
};
/// Reads Marker and MaxItems.
std::variant<PageRequest, IamFault> ReadPage(const QueryParameters& parameters);
/// <IsTruncated>, and <Marker> when there is more behind `last`.
std::string PageEnd(bool truncated, std::string_view last);

}  // namespace vmferry::region::iam
