// SPDX-License-Identifier: Apache-2.0
//
// Runs other programs in tests: independent writers and readers of the same formats.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vmferry::testing {

struct ToolOutcome {
  int exit_code = -1;  ///< -1 when it could not be started or did not end in two minutes
  std::string output;
  std::string error_output;

  bool ok() const { return exit_code == 0; }
};

/// Runs a program to its end. arguments[0] is looked up in PATH.
ToolOutcome RunTool(std::vector<std::string> arguments);

/// True when PATH has such a program.
bool HasTool(std::string_view name);

}  // namespace vmferry::testing

/// Skips the test, naming what is missing.
#define VMFERRY_NEEDS_TOOL(name) \
  if (!::vmferry::testing::HasTool(name)) GTEST_SKIP() << "needs " << (name)
