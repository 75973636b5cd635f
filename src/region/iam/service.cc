// SPDX-License-Identifier: Apache-2.0
#include "region/iam/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"

namespace vmferry::region::iam {
namespace {

constexpr std::string_view kNamespace = "https://iam.amazonaws.com/doc/2010-05-08/";

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_+=,.@-").find(c) != std::string_view::npos;
}

}  // namespace

IamFault ValidationError(std::string_view value, std::string_view member,
                         std::string_view constraint) {
  return {400, "ValidationError",
          fmt::format("1 validation error detected: Value '{}' at '{}' failed to satisfy "
                      "constraint: {}",
                      value, member, constraint)};
}

IamFault NoSuchRole(std::string_view name) {
  return {404, "NoSuchEntity", fmt::format("The role with name {} cannot be found.", name)};
}

IamFault NotModelled(std::string_view what) {
  return {501, "NotImplemented", fmt::format("The embedded region does not model {}.", what)};
}

IamFault FaultOf(const Error& error) {
  if (error.reason() == "region.malformed_policy") {
    return {400, "MalformedPolicyDocument", error.message()};
  }
  if (error.reason() == "region.policy_not_modelled") {
    return {501, "NotImplemented", "In a policy document: " + error.message() + "."};
  }
  if (error.code() == ErrorCode::kResourceExhausted) {
    return {503, "ServiceUnavailable", "The region's disk is full: no space is left."};
  }
  return {500, "ServiceFailure",
          "The request processing has failed because of an unknown error, exception or failure."};
}

std::optional<IamFault> CheckName(std::string_view value, std::string_view member,
                                  std::size_t most) {
  if (value.empty()) {
    return IamFault{400, "ValidationError",
                    fmt::format("1 validation error detected: Value at '{}' failed to satisfy "
                                "constraint: Member must not be null",
                                member)};
  }
  if (value.size() > most) {
    return ValidationError(value, member,
                           fmt::format("Member must have length less than or equal to {}", most));
  }
  if (!std::ranges::all_of(value, IsNameCharacter)) {
    return IamFault{400, "ValidationError",
                    fmt::format("The specified value for {} is invalid. It must contain only "
                                "alphanumeric characters and/or the following: +=,.@_-",
                                member)};
  }
  return std::nullopt;
}

std::variant<PageRequest, IamFault> ReadPage(const QueryParameters& parameters) {
  PageRequest page;
  if (const std::string* items = parameters.Find("MaxItems")) {
    const auto number = ParseUint(*items);
    if (!number || *number < 1 || *number > 1000) {
      return ValidationError(*items, "maxItems", "Member must have value between 1 and 1000");
    }
    page.most = *number;
  }
  if (const std::string* marker = parameters.Find("Marker")) {
    const auto decoded = codec::Base64Decode(*marker);
    if (!decoded || decoded->empty()) {
      return IamFault{400, "ValidationError", "The marker is invalid."};
    }
    page.after = AsText(*decoded);
  }
  return page;
}

std::string PageEnd(bool truncated, std::string_view last) {
  if (!truncated) return "<IsTruncated>false</IsTruncated>";
  return fmt::format("<IsTruncated>true</IsTruncated><Marker>{}</Marker>",
                     codec::Base64Encode(std::as_bytes(std::span(last))));
}

Result<std::unique_ptr<IamService>> IamService::Open(const Context& context) {
  VMFERRY_ASSIGN_OR_RETURN(auto roles, RoleStore::Open(context.database));
  return std::unique_ptr<IamService>(new IamService(context, std::move(roles)));
}

std::string IamService::OperationOf(const Call& call) const {
  const auto parameters = QueryParameters::Parse(call);
  return parameters ? parameters->Action() : std::string();
}

std::span<const std::pair<std::string_view, IamService::Handler>> IamService::Handlers() {
  static constexpr std::array<std::pair<std::string_view, Handler>, 11> kHandlers = {{
      {"CreateRole", &IamService::CreateRole},
      {"GetRole", &IamService::GetRole},
      {"DeleteRole", &IamService::DeleteRole},
      {"ListRoles", &IamService::ListRoles},
      {"UpdateAssumeRolePolicy", &IamService::UpdateAssumeRolePolicy},
      {"PutRolePolicy", &IamService::PutRolePolicy},
      {"GetRolePolicy", &IamService::GetRolePolicy},
      {"DeleteRolePolicy", &IamService::DeleteRolePolicy},
      {"ListRolePolicies", &IamService::ListRolePolicies},
      {"ListAttachedRolePolicies", &IamService::ListNothing},
      {"ListInstanceProfilesForRole", &IamService::ListNothing},
  }};
  return kHandlers;
}

std::vector<std::string> IamService::Operations() const {
  std::vector<std::string> names;
  for (const auto& [name, handler] : Handlers()) names.emplace_back(name);
  return names;
}

IamService::Handler IamService::HandlerOf(std::string_view operation) {
  for (const auto& [name, handler] : Handlers()) {
    if (name == operation) return handler;
  }
  return nullptr;
}

Answer IamService::Handle(Call& call) {
  const auto parameters = QueryParameters::Parse(call);
  if (!parameters) {
    return ErrorAnswer(400, "MalformedInput", parameters.error().message(), call);
  }
  if (call.operation.empty()) {
    return ErrorAnswer(400, "MissingAction",
                       "The request is missing an action or a required parameter.", call);
  }
  const Handler handler = HandlerOf(call.operation);
  if (handler == nullptr) {
    const IamFault fault = NotModelled("iam:" + call.operation);
    return ErrorAnswer(fault.status, fault.code, fault.message, call);
  }
  const Outcome outcome = (this->*handler)(*parameters);
  if (const auto* fault = std::get_if<IamFault>(&outcome)) {
    return ErrorAnswer(fault->status, fault->code, fault->message, call);
  }
  const std::string& inner = std::get<std::string>(outcome);
  Answer answer;
  answer.headers = {{"Content-Type", "text/xml"}};
  answer.body = fmt::format("<{0}Response xmlns=\"{1}\">", call.operation, kNamespace);
  if (!inner.empty())
    answer.body += fmt::format("<{0}Result>{1}</{0}Result>", call.operation, inner);
  answer.body +=
      fmt::format("<ResponseMetadata><RequestId>{1}</RequestId></ResponseMetadata></{0}Response>",
                  call.operation, call.request_id);
  if (const std::string* role = parameters->Find("RoleName")) {
    answer.log_fields = {{"role", *role}};
  }
  return answer;
}

Answer IamService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call& call) const {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "text/xml"}};
  answer.body = fmt::format(
      "<ErrorResponse xmlns=\"{}\"><Error><Type>{}</Type><Code>{}</Code><Message>{}</Message>"
      "</Error><RequestId>{}</RequestId></ErrorResponse>",
      kNamespace, status >= 500 ? "Receiver" : "Sender", XmlEscape(code), XmlEscape(message),
      call.request_id);
  answer.log_fields = {{"error_code", std::string(code)}};
  return answer;
}

std::variant<Role, IamFault> IamService::NamedRole(const QueryParameters& parameters) {
  const std::string name = parameters.Get("RoleName");
  if (auto fault = CheckName(name, "roleName", 64)) return *std::move(fault);
  auto role = roles_->Find(name);
  if (!role) return FaultOf(role.error());
  if (!*role) return NoSuchRole(name);
  return **std::move(role);
}

}  // namespace vmferry::region::iam
