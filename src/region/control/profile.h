// SPDX-License-Identifier: Apache-2.0
//
// The AWS profile of a region: files for AWS clients, and the shell lines that point to them.
//
// Secrets are in the file aws-credentials (0600) only, never in the lines.

#pragma once

#include <string>

#include "region/control/region_info.h"
#include "region/core/credentials.h"

namespace vmferry::region::control {

/// Writes aws-config and aws-credentials (both 0600) into the region's folder.
Result<void> WriteProfile(const RegionInfo& info, const RegionCredentials& credentials);

/// Lines for `eval "$(vmferry region env)"`: variables that AWS clients read, and a shell function
/// `aws`, because clients older than 2.13 (Debian's is 2.9) take the endpoint as an option only.
std::string EnvironmentLines(const RegionInfo& info);

}  // namespace vmferry::region::control
