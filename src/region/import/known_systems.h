// SPDX-License-Identifier: Apache-2.0
//
// The Linux systems and kernels that ImportImage accepts: AWS's published list, as data.

#pragma once

#include <string>
#include <string_view>

namespace vmferry::region {

/// The day on which the table was compared with AWS's page.
inline constexpr std::string_view kKnownSystemsDate = "2026-10-04";

enum class SystemVerdict { kKnown, kUnknownSystem, kUnknownKernel };

/// `id` and `version` as in os-release (ID, VERSION_ID), `kernel` as `uname -r` prints it.
SystemVerdict JudgeSystem(std::string_view id, std::string_view version, std::string_view kernel);

}  // namespace vmferry::region
