// SPDX-License-Identifier: Apache-2.0
#include "region/sts/service.h"

#include <fmt/format.h>

#include "region/core/query_protocol.h"

namespace vmferry::region::sts {
namespace {

/// User ids look like access key ids with another beginning.
std::string UserIdOf(std::string_view access_key_id) {
  return "AIDA" + std::string(access_key_id.substr(std::min<std::size_t>(4, access_key_id.size())));
}

}  // namespace

std::string StsService::OperationOf(const Call& call) const {
  const auto parameters = QueryParameters::Parse(call);
  return parameters ? parameters->Action() : std::string();
}

Answer StsService::Handle(Call& call) {
  if (call.operation.empty()) {
    return ErrorAnswer(400, "MissingAction",
                       "The request is missing an action or a required parameter.", call);
  }
  if (call.operation != "GetCallerIdentity") {
    return ErrorAnswer(501, "NotImplemented",
                       fmt::format("The embedded region does not model sts:{}.", call.operation),
                       call);
  }
  Answer answer;
  answer.headers = {{"Content-Type", "text/xml"}};
  answer.body = fmt::format(
      "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
      "<GetCallerIdentityResult><Arn>arn:aws:iam::{0}:user/vmferry</Arn><UserId>{1}</UserId>"
      "<Account>{0}</Account></GetCallerIdentityResult>"
      "<ResponseMetadata><RequestId>{2}</RequestId></ResponseMetadata>"
      "</GetCallerIdentityResponse>",
      context_.settings.account_id, UserIdOf(call.access_key_id), call.request_id);
  return answer;
}

Answer StsService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call& call) const {
  return StsErrorAnswer(status, code, message, call.request_id);
}

}  // namespace vmferry::region::sts
