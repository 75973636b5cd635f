// SPDX-License-Identifier: Apache-2.0
//
// The manifest (.mf) of an appliance: lines of "SHA256(file)= hexadecimal".
//
// Specification: DSP0243 (OVF 2.1.1), "File verification and authentication"; the blanks that
// programs put where the specification has none are accepted.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "image/appliance.h"

namespace vmferry::image::ova {

/// A line for each file, and an appliance has at most kMaxTarMembers of them.
inline constexpr std::uint64_t kMaxManifestBytes = kMiB;
inline constexpr std::size_t kMaxManifestLines = 4096;

/// Errors: kDataLoss ova.manifest.syntax, ova.manifest.too_long; kUnimplemented
///         ova.manifest.algorithm.
Result<std::vector<ManifestEntry>> ParseManifest(std::string_view text);

}  // namespace vmferry::image::ova
