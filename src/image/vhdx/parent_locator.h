// SPDX-License-Identifier: Apache-2.0
//
// The parent locator: which disk a differencing disk is a difference to, and where it was.
//
// Source: [MS-VHDX] 2.6.2.6.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace vmferry::image::vhdx {

struct ParentLocator {
  /// What the parent's data write GUID may be, as Info().identity spells it: parent_linkage and,
  /// where there is one, parent_linkage2.
  std::vector<std::string> identities;
  /// Paths in Windows' manner, the best first.
  std::vector<std::string> names;
};

/// Errors: kDataLoss vhdx.parent_locator.truncated, .count, .place, .text, .linkage; kUnimplemented
///         vhdx.parent_locator.type.
Result<ParentLocator> ParseParentLocator(std::span<const std::byte> bytes);

}  // namespace vmferry::image::vhdx
