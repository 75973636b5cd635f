// SPDX-License-Identifier: Apache-2.0
#include "region/control/admin_service.h"

#include <fmt/format.h>

namespace vmferry::region::control {
namespace {

constexpr ErrorCode kLastCode = ErrorCode::kCancelled;

ErrorCode CodeByName(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(kLastCode); ++i) {
    if (ErrorCodeName(static_cast<ErrorCode>(i)) == name) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::kInternal;
}

std::string Messages(const Error& error) {
  return error.cause() == nullptr ? error.message()
                                  : error.message() + ": " + Messages(*error.cause());
}

Answer JsonAnswer(int status, const text::Json& json) {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"}};
  answer.body = json.Dump();
  return answer;
}

}  // namespace

text::Json JsonOf(const FaultRule& rule) {
  text::Json json;
  json.Set("id", rule.id);
  json.Set("operation", rule.operation);
  json.Set("kind", FaultKindName(rule.kind));
  json.Set("skip", rule.skip);
  json.Set("remaining", rule.remaining);
  json.Set("status", rule.status);
  json.Set("code", rule.code);
  json.Set("message", rule.message);
  json.Set("delay_ms", rule.delay_ms);
  json.Set("rate_ppm", rule.rate_ppm);
  json.Set("seed", rule.seed);
  return json;
}

Result<FaultRule> FaultRuleOf(const text::Json& json) {
  FaultRule rule;
  const auto kind = ParseFaultKind(json["kind"].AsString());
  if (!kind) {
    return Error(ErrorCode::kInvalidArgument, "region.bad_fault",
                 fmt::format("'{}' is no kind of fault", json["kind"].AsString()))
        .WithRemedy(
            "use error, throttle, server-error, unavailable, expired-token, cut, cut-after, delay, "
            "fail or foreign-bucket");
  }
  rule.kind = *kind;
  rule.id = json["id"].AsInt(0);
  rule.operation = json["operation"].AsString();
  rule.skip = json["skip"].AsInt(rule.skip);
  rule.remaining = json["remaining"].AsInt(rule.remaining);
  rule.status = static_cast<int>(json["status"].AsInt(rule.status));
  rule.code = json["code"].AsString(rule.code);
  rule.message = json["message"].AsString(rule.message);
  rule.delay_ms = json["delay_ms"].AsInt(rule.delay_ms);
  rule.rate_ppm = json["rate_ppm"].AsInt(rule.rate_ppm);
  rule.seed = json["seed"].AsUint(rule.seed);
  return rule;
}

text::Json JsonOf(const Error& error) {
  text::Json json;
  json.Set("code", ErrorCodeName(error.code()));
  json.Set("reason", error.reason());
  json.Set("message", Messages(error));
  if (!error.remedy().empty()) json.Set("remedy", error.remedy());
  return json;
}

Error ErrorOf(const text::Json& json) {
  Error error(CodeByName(json["code"].AsString()), json["reason"].AsString("region.failed"),
              json["message"].AsString("the region failed"));
  return std::move(error).WithRemedy(json["remedy"].AsString());
}

AdminService::AdminService(const Context& context, std::map<std::string, AdminAction> actions)
    : actions_(std::move(actions)) {
  FaultRules& faults = context.faults;
  actions_["AddFault"] = [&faults](const text::Json& parameters) -> Result<text::Json> {
    VMFERRY_ASSIGN_OR_RETURN(const FaultRule rule, FaultRuleOf(parameters));
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t id, faults.Add(rule));
    text::Json json;
    json.Set("id", id);
    return json;
  };
  actions_["ListFaults"] = [&faults](const text::Json&) -> Result<text::Json> {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<FaultRule> rules, faults.List());
    text::Json list = text::Json::MakeArray();
    for (const FaultRule& rule : rules) list.Append(JsonOf(rule));
    text::Json json;
    json.Set("faults", std::move(list));
    return json;
  };
  actions_["ClearFaults"] = [&faults](const text::Json& parameters) -> Result<text::Json> {
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t count, faults.Clear(parameters["id"].AsInt(0)));
    text::Json json;
    json.Set("removed", count);
    return json;
  };
}

Answer AdminService::Handle(Call& call) {
  const auto request = text::Json::Parse(call.payload.memory);
  if (call.method != "POST" || !request) {
    return ErrorAnswer(400, "region.bad_request", "the request is no JSON document", call);
  }
  const std::string name = (*request)["action"].AsString();
  const auto action = actions_.find(name);
  if (action == actions_.end()) {
    return ErrorAnswer(400, "region.no_such_action",
                       fmt::format("the region knows no action '{}'", name), call);
  }
  auto outcome = action->second((*request)["parameters"]);
  Answer answer = outcome ? JsonAnswer(200, *outcome) : JsonAnswer(400, JsonOf(outcome.error()));
  answer.log_fields = {{"action", name}};
  return answer;
}

Answer AdminService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                                 const Call&) const {
  return JsonAnswer(status, JsonOf(Error(status == 403 ? ErrorCode::kPermissionDenied
                                                       : ErrorCode::kInvalidArgument,
                                         code, std::string(message))));
}

}  // namespace vmferry::region::control
