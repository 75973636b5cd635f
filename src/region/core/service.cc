// SPDX-License-Identifier: Apache-2.0
#include "region/core/service.h"

namespace vmferry::region {
namespace {

const std::string* FindIn(const std::vector<NameValue>& list, std::string_view name) {
  for (const auto& [key, value] : list) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

const std::string* Call::FindHeader(std::string_view name) const { return FindIn(headers, name); }
const std::string* Call::FindQuery(std::string_view name) const { return FindIn(query, name); }

}  // namespace vmferry::region
