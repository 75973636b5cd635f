// SPDX-License-Identifier: Apache-2.0
#include "region/sts/service.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "region/core/session_token.h"

namespace vmferry::region::sts {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kSecondsMin = 900;
constexpr std::uint64_t kRoleSecondsDefault = 3600;
constexpr std::uint64_t kUserSecondsDefault = 43'200;
constexpr std::uint64_t kUserSecondsMax = 129'600;
constexpr std::uint64_t kChainedSecondsMax = 3600;

/// User ids look like access key ids with another beginning.
std::string UserIdOf(std::string_view access_key_id) {
  return "AIDA" + std::string(access_key_id.substr(std::min<std::size_t>(4, access_key_id.size())));
}

bool IsNameText(std::string_view text, std::string_view further) {
  return std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           further.find(c) != further.npos;
  });
}

/// The name at the end of "arn:aws:iam::ACCOUNT:role/PATH/NAME"; "" when it is no role of the
/// account.
std::string RoleNameOf(std::string_view arn, std::string_view account) {
  const std::string start = fmt::format("arn:aws:iam::{}:role/", account);
  if (!arn.starts_with(start)) return {};
  return std::string(arn.substr(arn.rfind('/') + 1));
}

Answer XmlAnswer(std::string_view operation, std::string_view inner, const Call& call) {
  Answer answer;
  answer.headers = {{"Content-Type", "text/xml"}};
  answer.body = fmt::format(
      "<{0}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{0}Result>{1}</{0}Result>"
      "<ResponseMetadata><RequestId>{2}</RequestId></ResponseMetadata></{0}Response>",
      operation, inner, call.request_id);
  return answer;
}

std::string CredentialsXml(const Session& session) {
  return fmt::format(
      "<Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>"
      "<SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
      session.access_key_id, session.secret_access_key.Expose(), session.token,
      FormatTime(session.expires));
}

}  // namespace

Result<std::unique_ptr<StsService>> StsService::Open(const Context& context) {
  VMFERRY_ASSIGN_OR_RETURN(RegionCredentials account, LoadCredentials(context.settings.folder));
  VMFERRY_ASSIGN_OR_RETURN(auto roles, RoleStore::Open(context.database));
  return std::unique_ptr<StsService>(new StsService(context, std::move(account), std::move(roles)));
}

std::string StsService::OperationOf(const Call& call) const {
  const auto parameters = QueryParameters::Parse(call);
  return parameters ? parameters->Action() : std::string();
}

Answer StsService::Handle(Call& call) {
  const auto parameters = QueryParameters::Parse(call);
  if (!parameters || call.operation.empty()) {
    return ErrorAnswer(400, "MissingAction",
                       "The request is missing an action or a required parameter.", call);
  }
  if (call.operation == "GetCallerIdentity") return GetCallerIdentity(call);
  if (call.operation == "AssumeRole") return AssumeRole(call, *parameters);
  if (call.operation == "GetSessionToken") return GetSessionToken(call, *parameters);
  return ErrorAnswer(501, "NotImplemented",
                     fmt::format("The embedded region does not model sts:{}.", call.operation),
                     call);
}

StsService::Caller StsService::CallerOf(const Call& call) const {
  const std::string* token = call.FindHeader("x-amz-security-token");
  if (token == nullptr) token = call.FindQuery("X-Amz-Security-Token");
  if (token != nullptr) {
    // The gateway has verified it: that it opens is certain.
    if (auto session = OpenSession(account_, *token)) {
      return {session->arn, session->user_id, session->role_arn, true};
    }
  }
  return {fmt::format("arn:aws:iam::{}:user/vmferry", account_.account_id),
          UserIdOf(account_.access_key_id), "", false};
}

Answer StsService::GetCallerIdentity(const Call& call) const {
  const Caller caller = CallerOf(call);
  return XmlAnswer("GetCallerIdentity",
                   fmt::format("<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>", caller.arn,
                               caller.user_id, account_.account_id),
                   call);
}

Answer StsService::Invalid(std::string_view value, std::string_view member,
                           std::string_view constraint, const Call& call) const {
  return ErrorAnswer(400, "ValidationError",
                     fmt::format("1 validation error detected: Value '{}' at '{}' failed to "
                                 "satisfy constraint: {}",
                                 value, member, constraint),
                     call);
}

Answer StsService::AssumeRole(const Call& call, const QueryParameters& parameters) {
  for (const auto& [name, value] : parameters.all()) {
    for (const std::string_view refused :
         {"Policy", "PolicyArns", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode",
          "SourceIdentity", "ProvidedContexts"}) {
      if (std::string_view(name).substr(0, name.find('.')) == refused) {
        return ErrorAnswer(501, "NotImplemented",
                           fmt::format("The embedded region does not model {}.", refused), call);
      }
    }
  }
  const std::string arn = parameters.Get("RoleArn");
  if (arn.size() < 20 || arn.size() > 2048) {
    return Invalid(arn, "roleArn", "Member must have length between 20 and 2048", call);
  }
  const std::string name = parameters.Get("RoleSessionName");
  if (name.size() < 2 || name.size() > 64 || !IsNameText(name, "_+=,.@-")) {
    return Invalid(name, "roleSessionName",
                   "Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}", call);
  }
  const std::string* external_id = parameters.Find("ExternalId");
  if (external_id != nullptr && (external_id->size() < 2 || external_id->size() > 1224 ||
                                 !IsNameText(*external_id, "_+=,.@:/-"))) {
    return Invalid(*external_id, "externalId",
                   "Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]{2,1224}", call);
  }
  const Caller caller = CallerOf(call);
  auto role = roles_->Find(RoleNameOf(arn, account_.account_id));
  if (!role) {
    return ErrorAnswer(500, "InternalFailure",
                       "The request processing has failed because of an unknown error.", call);
  }
  PolicyQuestion question;
  question.principal_arn = caller.role_arn.empty() ? caller.arn : caller.role_arn;
  question.action = "sts:AssumeRole";
  question.keys = {{"sts:RoleSessionName", name},
                   {"aws:PrincipalArn", question.principal_arn},
                   {"aws:PrincipalAccount", account_.account_id}};
  if (external_id != nullptr) question.keys.emplace_back("sts:ExternalId", *external_id);
  if (!*role || (*role)->arn != arn ||
      !PolicyAllows((*role)->trust_policy, PolicyKind::kTrust, question)) {
    return ErrorAnswer(
        403, "AccessDenied",
        fmt::format("User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                    caller.arn, arn),
        call);
  }
  const auto duration = ParseUint(parameters.Get("DurationSeconds"));
  const std::uint64_t lasts = duration.value_or(kRoleSecondsDefault);
  if ((!duration && parameters.Has("DurationSeconds")) || lasts < kSecondsMin || lasts > 43'200) {
    return Invalid(parameters.Get("DurationSeconds"), "durationSeconds",
                   "Member must have value between 900 and 43200", call);
  }
  if (caller.session && lasts > kChainedSecondsMax) {
    return ErrorAnswer(400, "ValidationError",
                       "The requested DurationSeconds exceeds the 1 hour session limit for roles "
                       "assumed by role chaining",
                       call);
  }
  if (lasts > static_cast<std::uint64_t>((*role)->session_seconds_max)) {
    return ErrorAnswer(
        400, "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", call);
  }
  const std::string session_arn =
      fmt::format("arn:aws:sts::{}:assumed-role/{}/{}", account_.account_id, (*role)->name, name);
  const std::string session_id = (*role)->id + ":" + name;
  const Session session = IssueSession(account_, session_arn, session_id, arn,
                                       context_.clock.WallNow() + seconds(lasts), context_.random);
  Answer answer = XmlAnswer(
      "AssumeRole",
      CredentialsXml(session) + fmt::format("<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId>"
                                            "<Arn>{}</Arn></AssumedRoleUser>",
                                            session_id, session_arn),
      call);
  answer.log_fields = {{"role", (*role)->name}, {"session_key_id", session.access_key_id}};
  return answer;
}

Answer StsService::GetSessionToken(const Call& call, const QueryParameters& parameters) {
  const Caller caller = CallerOf(call);
  if (caller.session) {
    return ErrorAnswer(403, "AccessDenied", "Cannot call GetSessionToken with session credentials",
                       call);
  }
  if (parameters.Has("SerialNumber") || parameters.Has("TokenCode")) {
    return ErrorAnswer(501, "NotImplemented",
                       "The embedded region does not model multi-factor authentication.", call);
  }
  const auto duration = ParseUint(parameters.Get("DurationSeconds"));
  const std::uint64_t lasts = duration.value_or(kUserSecondsDefault);
  if ((!duration && parameters.Has("DurationSeconds")) || lasts < kSecondsMin ||
      lasts > kUserSecondsMax) {
    return Invalid(parameters.Get("DurationSeconds"), "durationSeconds",
                   "Member must have value between 900 and 129600", call);
  }
  const Session session = IssueSession(account_, caller.arn, caller.user_id, "",
                                       context_.clock.WallNow() + seconds(lasts), context_.random);
  Answer answer = XmlAnswer("GetSessionToken", CredentialsXml(session), call);
  answer.log_fields = {{"session_key_id", session.access_key_id}};
  return answer;
}

Answer StsService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call& call) const {
  Answer answer = StsErrorAnswer(status, code, message, call.request_id);
  answer.log_fields = {{"error_code", std::string(code)}};
  return answer;
}

}  // namespace vmferry::region::sts
