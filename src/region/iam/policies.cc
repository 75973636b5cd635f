// SPDX-License-Identifier: Apache-2.0
//
// Inline policies of roles.
#include <fmt/format.h>

#include "http/message.h"
#include "region/iam/service.h"

namespace vmferry::region::iam {
namespace {

// IAM User Guide, "IAM and AWS STS quotas": of all inline policies of a role together.
constexpr std::uint64_t kPoliciesBytesMax = 10'240;

IamFault NoSuchPolicy(std::string_view name) {
  return {404, "NoSuchEntity", fmt::format("The role policy with name {} cannot be found.", name)};
}

}  // namespace

IamService::Outcome IamService::PutRolePolicy(const QueryParameters& parameters) {
  const std::string role = parameters.Get("RoleName");
  const std::string policy = parameters.Get("PolicyName");
  const std::string document = parameters.Get("PolicyDocument");
  if (auto fault = CheckName(role, "roleName", 64)) return *std::move(fault);
  if (auto fault = CheckName(policy, "policyName", 128)) return *std::move(fault);
  if (auto checked = CheckPolicy(document, PolicyKind::kPermissions); !checked) {
    return FaultOf(checked.error());
  }
  auto put = roles_->PutPolicy(role, policy, document, kPoliciesBytesMax);
  if (!put && put.error().reason() == "region.policies_too_long") {
    return IamFault{409, "LimitExceeded",
                    fmt::format("Maximum policy size of {} bytes exceeded for role {}",
                                kPoliciesBytesMax, role)};
  }
  if (!put) return FaultOf(put.error());
  if (!*put) return NoSuchRole(role);
  return std::string();
}

IamService::Outcome IamService::GetRolePolicy(const QueryParameters& parameters) {
  const std::string policy = parameters.Get("PolicyName");
  if (auto fault = CheckName(policy, "policyName", 128)) return *std::move(fault);
  auto found = NamedRole(parameters);
  if (auto* fault = std::get_if<IamFault>(&found)) return std::move(*fault);
  const Role& role = std::get<Role>(found);
  const auto document = role.policies.find(policy);
  if (document == role.policies.end()) return NoSuchPolicy(policy);
  return fmt::format(
      "<RoleName>{}</RoleName><PolicyName>{}</PolicyName><PolicyDocument>{}</PolicyDocument>",
      role.name, policy, http::PercentEncode(document->second));
}

IamService::Outcome IamService::DeleteRolePolicy(const QueryParameters& parameters) {
  const std::string role = parameters.Get("RoleName");
  const std::string policy = parameters.Get("PolicyName");
  if (auto fault = CheckName(role, "roleName", 64)) return *std::move(fault);
  if (auto fault = CheckName(policy, "policyName", 128)) return *std::move(fault);
  auto removed = roles_->RemovePolicy(role, policy);
  if (!removed) return FaultOf(removed.error());
  switch (*removed) {
    case RoleStore::PolicyRemoval::kNoRole:
      return NoSuchRole(role);
    case RoleStore::PolicyRemoval::kNoPolicy:
      return NoSuchPolicy(policy);
    case RoleStore::PolicyRemoval::kDone:
      break;
  }
  return std::string();
}

IamService::Outcome IamService::ListRolePolicies(const QueryParameters& parameters) {
  auto page = ReadPage(parameters);
  if (auto* fault = std::get_if<IamFault>(&page)) return std::move(*fault);
  const PageRequest& request = std::get<PageRequest>(page);
  auto found = NamedRole(parameters);
  if (auto* fault = std::get_if<IamFault>(&found)) return std::move(*fault);
  const Role& role = std::get<Role>(found);
  std::string xml = "<PolicyNames>";
  std::string last;
  std::uint64_t count = 0;
  bool truncated = false;
  for (auto it = role.policies.upper_bound(request.after); it != role.policies.end(); ++it) {
    truncated = count == request.most;
    if (truncated) break;
    ++count;
    last = it->first;
    xml += fmt::format("<member>{}</member>", last);
  }
  return xml + "</PolicyNames>" + PageEnd(truncated, last);
}

// Managed policies and instance profiles are not modelled, so that a role has none of them; tools
// ask before they delete a role.
IamService::Outcome IamService::ListNothing(const QueryParameters& parameters) {
  auto found = NamedRole(parameters);
  if (auto* fault = std::get_if<IamFault>(&found)) return std::move(*fault);
  const bool profiles = parameters.Action() == "ListInstanceProfilesForRole";
  return fmt::format("<{}/>", profiles ? "InstanceProfiles" : "AttachedPolicies") +
         PageEnd(false, "");
}

}  // namespace vmferry::region::iam
