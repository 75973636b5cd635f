// SPDX-License-Identifier: Apache-2.0
//
// FakeEnvironment: variables given by the test, nothing else.

#pragma once

#include <map>

#include "sys/environment.h"

namespace vmferry::testing {

class FakeEnvironment final : public sys::Environment {
 public:
  explicit FakeEnvironment(std::map<std::string, std::string, std::less<>> variables = {})
      : variables_(std::move(variables)) {}

  std::optional<std::string> Get(std::string_view name) const override {
    const auto found = variables_.find(name);
    if (found == variables_.end() || found->second.empty()) return std::nullopt;
    return found->second;
  }

 private:
  std::map<std::string, std::string, std::less<>> variables_;
};

}  // namespace vmferry::testing
