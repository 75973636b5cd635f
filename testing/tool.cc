// SPDX-License-Identifier: Apache-2.0
#include "testing/tool.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "sys/clock.h"
#include "sys/process.h"

namespace vmferry::testing {

ToolOutcome RunTool(std::vector<std::string> arguments) {
  sys::SystemClock clock;
  const OpContext context = {.deadline = clock.DeadlineIn(std::chrono::minutes(2))};
  auto outcome =
      sys::RunProcess(clock, {.arguments = std::move(arguments)}, context, std::size_t{64} << 20);
  if (!outcome) return {.error_output = outcome.error().ToString()};
  return {.exit_code = outcome->exit_code,
          .output = std::move(outcome->output),
          .error_output = std::move(outcome->error_output)};
}

bool HasTool(std::string_view name) {
  const char* variable = std::getenv("PATH");
  std::string_view path = variable == nullptr ? "/usr/bin:/bin" : variable;
  while (!path.empty()) {
    const std::string_view folder = path.substr(0, path.find(':'));
    path.remove_prefix(std::min(folder.size() + 1, path.size()));
    const auto candidate = std::filesystem::path(folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace vmferry::testing
