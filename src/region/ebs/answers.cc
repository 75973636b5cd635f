// SPDX-License-Identifier: Apache-2.0
#include "region/ebs/answers.h"

#include <fmt/format.h>

#include <array>

namespace vmferry::region::ebs {
namespace {

struct Translation {
  std::string_view region_reason;
  int status;
  std::string_view type;
  std::string_view reason;
};

constexpr std::array kTranslations = {
    Translation{"region.no_such_snapshot", 404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"},
    Translation{"region.wrong_state", 400, "ValidationException", "INVALID_SNAPSHOT_ID"},
    Translation{"region.block_conflict", 400, "ValidationException", "CONFLICTING_BLOCK_UPDATE"},
    Translation{"region.block_past_end", 400, "ValidationException", "INVALID_BLOCK"},
    Translation{"region.upload_expired", 400, "ValidationException", "WRITE_REQUEST_TIMEOUT"},
    Translation{"region.parent_larger", 400, "ValidationException", "INVALID_VOLUME_SIZE"},
    Translation{"region.wrong_block_count", 400, "ValidationException", "INVALID_PARAMETER_VALUE"},
    Translation{"region.wrong_aggregate", 400, "ValidationException", "INVALID_PARAMETER_VALUE"},
    Translation{"region.too_many_tags", 400, "ValidationException", "INVALID_TAG"},
    Translation{"region.token_conflict", 409, "ConflictException", ""},
    Translation{"region.too_many_pending", 402, "ServiceQuotaExceededException",
                "DEPENDENCY_SERVICE_QUOTA_EXCEEDED"},
};

}  // namespace

Answer Refusal(int status, std::string_view type, std::string_view reason,
               std::string_view message) {
  text::Json body = text::Json::MakeObject();
  body.Set("Message", message);
  if (!reason.empty()) body.Set("Reason", reason);
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"}, {"x-amzn-ErrorType", std::string(type)}};
  answer.body = body.Dump();
  answer.log_fields = {{"error_code", std::string(type)}};
  if (!reason.empty()) answer.log_fields.emplace_back("error_reason", reason);
  return answer;
}

Answer Invalid(std::string_view reason, std::string_view message) {
  return Refusal(400, "ValidationException", reason, message);
}

Answer RefusalOf(const Error& error, std::string_view id) {
  for (const Translation& translation : kTranslations) {
    if (translation.region_reason != error.reason()) continue;
    Answer answer =
        Refusal(translation.status, translation.type, translation.reason, error.message());
    answer.log_fields.emplace_back("snapshot", id);
    return answer;
  }
  const bool full = error.code() == ErrorCode::kResourceExhausted;
  return Refusal(full ? 503 : 500, full ? "ServiceUnavailable" : "InternalServerException", "",
                 full ? "The region's disk is full: no space is left." : error.ToString());
}

Answer JsonAnswer(int status, const text::Json& body, std::string_view snapshot_id) {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"}};
  answer.body = body.Dump();
  answer.log_fields = {{"snapshot", std::string(snapshot_id)}};
  return answer;
}

}  // namespace vmferry::region::ebs
