// SPDX-License-Identifier: Apache-2.0
//
// The region table: where the BAT and the metadata lie. There are two copies.
//
// Source: [MS-VHDX] 2.2.3.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/vhdx/guid.h"
#include "image/vhdx/header.h"

namespace vmferry::image::vhdx {

/// A part of the file that holds no payload. Half-open.
struct Region {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

struct Regions {
  Region bat;
  Region metadata;
  std::vector<Region> all;           ///< the log too, ordered by place; no two overlap
  std::vector<std::string> unknown;  ///< GUIDs of optional regions that are not known
  std::vector<std::string> defects;
};

/// Reads the tables and checks where the regions lie.
///
/// Errors: kDataLoss vhdx.region.damaged (both copies), vhdx.region.count, vhdx.region.place,
///         vhdx.region.twice, vhdx.region.overlap, vhdx.region.missing;
///         kUnimplemented vhdx.region.unknown; those of the source.
Result<Regions> ReadRegions(const ByteSource& source, const Header& header);

}  // namespace vmferry::image::vhdx
