// SPDX-License-Identifier: Apache-2.0
#include "sys/environment.h"

#include <cstdlib>

namespace vmferry::sys {

std::optional<std::string> SystemEnvironment::Get(std::string_view name) const {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Folders FindFolders(const Environment& environment) {
  const std::filesystem::path home = environment.Get("HOME").value_or("/");
  const auto find = [&](std::string_view own, std::string_view xdg, std::string_view fallback) {
    if (const auto value = environment.Get(own)) return std::filesystem::path(*value);
    if (const auto value = environment.Get(xdg)) return std::filesystem::path(*value) / "vmferry";
    return home / fallback / "vmferry";
  };
  return {.home = home,
          .state = find("VMFERRY_STATE", "XDG_STATE_HOME", ".local/state"),
          .cache = find("VMFERRY_CACHE", "XDG_CACHE_HOME", ".cache"),
          .config = find("VMFERRY_CONFIG", "XDG_CONFIG_HOME", ".config")};
}

}  // namespace vmferry::sys
