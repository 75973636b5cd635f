// SPDX-License-Identifier: Apache-2.0
#include "migration/error_json.h"

namespace vmferry::migration {

text::Json ErrorToJson(const Error& error) {
  text::Json json = text::Json::MakeObject();
  json.Set("code", ErrorCodeName(error.code()))
      .Set("reason", error.reason())
      .Set("message", error.message());
  if (!error.remedy().empty()) json.Set("remedy", error.remedy());
  if (!error.facts().empty()) {
    text::Json facts = text::Json::MakeObject();
    for (const auto& [key, value] : error.facts()) facts.Set(key, value);
    json.Set("facts", std::move(facts));
  }
  if (error.cause() != nullptr) json.Set("cause", ErrorToJson(*error.cause()));
  return json;
}

}  // namespace vmferry::migration
