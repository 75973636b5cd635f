// SPDX-License-Identifier: Apache-2.0
//
// Environment: environment variables, and the folders derived from them.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vmferry::sys {

class Environment {
 public:
  virtual ~Environment() = default;
  /// The variable's value; nothing when it is unset or empty.
  virtual std::optional<std::string> Get(std::string_view name) const = 0;
};

class SystemEnvironment final : public Environment {
 public:
  std::optional<std::string> Get(std::string_view name) const override;
};

/// Where vmferry keeps things: VMFERRY_STATE, VMFERRY_CACHE, VMFERRY_CONFIG, else the XDG folders.
struct Folders {
  std::filesystem::path home;
  std::filesystem::path state;   ///< journal, keys, certificates, the region
  std::filesystem::path cache;   ///< generated guests
  std::filesystem::path config;  ///< config.yaml
};
Folders FindFolders(const Environment& environment);

}  // namespace vmferry::sys
