// SPDX-License-Identifier: Apache-2.0
//
// Roles.
#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "http/message.h"
#include "region/iam/service.h"

namespace vmferry::region::iam {
namespace {

// IAM User Guide, "IAM and AWS STS quotas": a trust policy is 2,048 characters long by default and
// 8,192 on request; we take what can be had.
constexpr std::size_t kTrustPolicyBytesMax = 8192;
constexpr std::size_t kDescriptionBytesMax = 1000;
constexpr std::size_t kPathBytesMax = 512;
constexpr std::size_t kTagsMax = 50;
constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

std::string RoleXml(const Role& role, bool with_tags) {
  std::string xml = fmt::format(
      "<Path>{}</Path><RoleName>{}</RoleName><RoleId>{}</RoleId><Arn>{}</Arn>"
      "<CreateDate>{}</CreateDate><AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument>",
      XmlEscape(role.path), role.name, role.id, XmlEscape(role.arn), FormatTime(role.created),
      http::PercentEncode(role.trust_policy));
  if (!role.description.empty()) {
    xml += fmt::format("<Description>{}</Description>", XmlEscape(role.description));
  }
  xml += fmt::format("<MaxSessionDuration>{}</MaxSessionDuration>", role.session_seconds_max);
  if (!with_tags) return xml;
  if (!role.tags.empty()) {
    xml += "<Tags>";
    for (const auto& [key, value] : role.tags) {
      xml += fmt::format("<member><Key>{}</Key><Value>{}</Value></member>", XmlEscape(key),
                         XmlEscape(value));
    }
    xml += "</Tags>";
  }
  return xml + "<RoleLastUsed/>";
}

bool IsPath(std::string_view path) {
  return path.size() <= kPathBytesMax && path.starts_with('/') && path.ends_with('/') &&
         std::ranges::all_of(path, [](char c) { return c > 0x20 && c < 0x7f; });
}

std::optional<IamFault> CheckTrustPolicy(const std::string& document, std::string_view member) {
  if (document.empty()) {
    return IamFault{400, "ValidationError",
                    fmt::format("1 validation error detected: Value at '{}' failed to satisfy "
                                "constraint: Member must not be null",
                                member)};
  }
  if (document.size() > kTrustPolicyBytesMax) {
    return IamFault{
        409, "LimitExceeded",
        fmt::format("Cannot exceed quota for ACLSizePerRole: {}", kTrustPolicyBytesMax)};
  }
  if (auto checked = CheckPolicy(document, PolicyKind::kTrust); !checked) {
    return FaultOf(checked.error());
  }
  return std::nullopt;
}

std::optional<IamFault> ReadTags(const QueryParameters& parameters, std::vector<NameValue>& tags) {
  for (const std::uint64_t index : parameters.Indices("Tags.member")) {
    NameValue tag = {parameters.Member("Tags.member", index, "Key"),
                     parameters.Member("Tags.member", index, "Value")};
    const bool again =
        std::ranges::any_of(tags, [&](const auto& t) { return t.first == tag.first; });
    if (tag.first.empty() || tag.first.size() > 128 || tag.second.size() > 256) {
      return ValidationError(tag.first, "tags",
                             "Member must have length 1 to 128, its value 0 to 256");
    }
    if (again) {
      return IamFault{400, "InvalidInput",
                      "Duplicate tag keys found. Please note that Tag keys are case insensitive."};
    }
    tags.push_back(std::move(tag));
    if (tags.size() > kTagsMax) {
      return IamFault{409, "LimitExceeded", "Cannot exceed quota for TagsPerRole: 50"};
    }
  }
  return std::nullopt;
}

}  // namespace

IamService::Outcome IamService::CreateRole(const QueryParameters& parameters) {
  if (parameters.Has("PermissionsBoundary")) return NotModelled("PermissionsBoundary");
  Role role;
  role.name = parameters.Get("RoleName");
  if (auto fault = CheckName(role.name, "roleName", 64)) return *std::move(fault);
  if (const std::string* path = parameters.Find("Path")) role.path = *path;
  if (!IsPath(role.path)) {
    return IamFault{400, "ValidationError",
                    "The specified value for path is invalid. It must begin and end with / and "
                    "contain only alphanumeric characters and/or / characters."};
  }
  role.trust_policy = parameters.Get("AssumeRolePolicyDocument");
  if (auto fault = CheckTrustPolicy(role.trust_policy, "assumeRolePolicyDocument")) {
    return *std::move(fault);
  }
  role.description = parameters.Get("Description");
  if (role.description.size() > kDescriptionBytesMax) {
    return ValidationError(role.description, "description",
                           "Member must have length less than or equal to 1000");
  }
  if (const std::string* seconds = parameters.Find("MaxSessionDuration")) {
    const auto number = ParseUint(*seconds);
    if (!number || *number < 3600 || *number > 43'200) {
      return ValidationError(*seconds, "maxSessionDuration",
                             "Member must have value between 3600 and 43200");
    }
    role.session_seconds_max = static_cast<std::int64_t>(*number);
  }
  if (auto fault = ReadTags(parameters, role.tags)) return *std::move(fault);
  role.id = "AROA";
  for (int i = 0; i < 17; ++i) role.id.push_back(kBase32[context_.random.Below(kBase32.size())]);
  role.arn =
      fmt::format("arn:aws:iam::{}:role{}{}", context_.settings.account_id, role.path, role.name);
  role.created = std::chrono::floor<std::chrono::seconds>(context_.clock.WallNow());
  if (auto added = roles_->Add(role); !added) {
    if (added.error().code() != ErrorCode::kAlreadyExists) return FaultOf(added.error());
    return IamFault{409, "EntityAlreadyExists",
                    fmt::format("Role with name {} already exists.", role.name)};
  }
  return "<Role>" + RoleXml(role, true) + "</Role>";
}

IamService::Outcome IamService::GetRole(const QueryParameters& parameters) {
  auto role = NamedRole(parameters);
  if (auto* fault = std::get_if<IamFault>(&role)) return std::move(*fault);
  return "<Role>" + RoleXml(std::get<Role>(role), true) + "</Role>";
}

IamService::Outcome IamService::DeleteRole(const QueryParameters& parameters) {
  const std::string name = parameters.Get("RoleName");
  if (auto fault = CheckName(name, "roleName", 64)) return *std::move(fault);
  auto removed = roles_->Remove(name);
  if (!removed && removed.error().reason() == "region.role_has_policies") {
    return IamFault{409, "DeleteConflict", "Cannot delete entity, must delete policies first."};
  }
  if (!removed) return FaultOf(removed.error());
  if (!*removed) return NoSuchRole(name);
  return std::string();
}

IamService::Outcome IamService::ListRoles(const QueryParameters& parameters) {
  auto page = ReadPage(parameters);
  if (auto* fault = std::get_if<IamFault>(&page)) return std::move(*fault);
  const PageRequest& request = std::get<PageRequest>(page);
  auto roles = roles_->List(parameters.Get("PathPrefix"), request.after, request.most + 1);
  if (!roles) return FaultOf(roles.error());
  const bool truncated = roles->size() > request.most;
  if (truncated) roles->pop_back();
  std::string xml = "<Roles>";
  for (const Role& role : *roles) xml += "<member>" + RoleXml(role, false) + "</member>";
  return xml + "</Roles>" + PageEnd(truncated, roles->empty() ? "" : roles->back().name);
}

IamService::Outcome IamService::UpdateAssumeRolePolicy(const QueryParameters& parameters) {
  const std::string name = parameters.Get("RoleName");
  if (auto fault = CheckName(name, "roleName", 64)) return *std::move(fault);
  const std::string document = parameters.Get("PolicyDocument");
  if (auto fault = CheckTrustPolicy(document, "policyDocument")) return *std::move(fault);
  auto changed = roles_->SetTrustPolicy(name, document);
  if (!changed) return FaultOf(changed.error());
  if (!*changed) return NoSuchRole(name);
  return std::string();
}

}  // namespace vmferry::region::iam
