// SPDX-License-Identifier: Apache-2.0
//
// RegionDoor: the embedded region as the command line knows it.

#pragma once

#include "base/log.h"
#include "cli/world.h"
#include "http/curl_client.h"
#include "region/control/admin_client.h"
#include "region/control/region.h"

namespace vmferry::app {

class RegionDoor final : public cli::RegionControl {
 public:
  /// Borrows everything.
  RegionDoor(sys::Clock& clock, sys::Random& random, Log& log, const sys::Folders& folders)
      : clock_(clock), random_(random), log_(log), folders_(folders), http_(clock, {}) {}

  Result<cli::RegionView> Start(const cli::RegionStart& start, const OpContext& context) override;
  Result<void> Stop(const std::filesystem::path& folder, const OpContext& context) override;
  Result<cli::RegionView> Status(const std::filesystem::path& folder) override;
  Result<text::Json> Details(const std::filesystem::path& folder,
                             const OpContext& context) override;
  Result<std::string> Env(const std::filesystem::path& folder) override;
  Result<std::string> Console(const std::filesystem::path& folder, const std::string& instance_id,
                              const OpContext& context) override;
  Result<std::string> Faults(const std::filesystem::path& folder,
                             const std::vector<std::string>& words,
                             const OpContext& context) override;

 private:
  std::filesystem::path FolderOf(const std::filesystem::path& folder) const;
  region::control::World MakeWorld() const { return {clock_, random_, log_}; }

  sys::Clock& clock_;
  sys::Random& random_;
  Log& log_;
  const sys::Folders& folders_;
  http::CurlClient http_;
};

}  // namespace vmferry::app
