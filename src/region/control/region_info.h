// SPDX-License-Identifier: Apache-2.0
//
// RegionInfo: what region.json says about a running region.
//
// Thread safety: values.

#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/result.h"

namespace vmferry::region::control {

struct RegionInfo {
  std::filesystem::path folder;
  std::uint16_t port = 0;
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< with the pid names the process for good
  std::string region_name;
  std::string zone;
  std::string account_id;
  std::string profile;  ///< name of the AWS profile in aws-config
  std::string started;  ///< RFC 3339

  std::string Endpoint() const { return "http://127.0.0.1:" + std::to_string(port); }
  /// The same port speaks TLS; certificates are signed by the authority of CaBundlePath(folder).
  std::string TlsEndpoint() const { return "https://127.0.0.1:" + std::to_string(port); }
};

/// The profile's name in every region's files.
inline constexpr const char* kProfileName = "vmferry-region";

std::filesystem::path RegionInfoPath(const std::filesystem::path& folder);
Result<void> WriteRegionInfo(const RegionInfo& info);
/// Reads region.json, also one that a crash left behind.
/// Errors: kNotFound io.not_found; kDataLoss region.info_damaged.
Result<RegionInfo> ReadRegionInfo(const std::filesystem::path& folder);

/// The region that runs in this folder now: nothing when none does.
std::optional<RegionInfo> FindRunningRegion(const std::filesystem::path& folder);

}  // namespace vmferry::region::control
