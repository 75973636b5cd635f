// SPDX-License-Identifier: Apache-2.0
#include "region/vm/ids.h"

#include <algorithm>

namespace vmferry::region::vm {
namespace {

constexpr std::string_view kBase36 = "0123456789abcdefghijklmnopqrstuvwxyz";

bool AllOf(std::string_view text, std::string_view alphabet) {
  return text.find_first_not_of(alphabet) == text.npos;
}

}  // namespace

std::string NewResourceId(sys::Random& random, std::string_view prefix) {
  return std::string(prefix) + "0" + random.Hex(16);
}

bool IsResourceId(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return (text.size() == 8 || text.size() == 17) && AllOf(text, kBase36.substr(0, 16));
}

std::string NewTaskId(sys::Random& random, std::string_view prefix) {
  std::string id(prefix);
  for (int i = 0; i < 8; ++i) id += kBase36[random.Below(kBase36.size())];
  return id;
}

bool IsTaskId(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return text.size() >= 8 && text.size() <= 17 && AllOf(text, kBase36);
}

}  // namespace vmferry::region::vm
