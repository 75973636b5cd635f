// SPDX-License-Identifier: Apache-2.0
//
// What `image inspect` finds out about an appliance, for people and for programs.

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/disk_report.h"
#include "image/appliance.h"

namespace vmferry::cli {

struct ApplianceDiskReport {
  std::size_t number = 0;            ///< what --disk takes
  std::optional<DiskReport> report;  ///< absent when it cannot be opened
  std::optional<Error> problem;      ///< why
};

struct ApplianceReport {
  std::string path;
  image::Appliance appliance;
  std::vector<ApplianceDiskReport> disks;
  /// How the manifest's promises turned out; absent unless that was asked for.
  std::optional<std::vector<image::DigestCheck>> checks;
};

std::string DescribeAppliance(const ApplianceReport& report);
/// The members of schema vmferry.image/1, without "schema".
text::Json ApplianceToJson(const ApplianceReport& report);

/// Errors: kDataLoss ova.manifest.mismatch for the first file that is not what the manifest says.
Result<void> CheckPromises(const ApplianceReport& report);

}  // namespace vmferry::cli
