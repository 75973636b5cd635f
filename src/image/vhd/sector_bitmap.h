// SPDX-License-Identifier: Apache-2.0
//
// The bitmap in front of a block: which sectors of the block this file has, and which the parent.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vmferry::image::vhd {

using SectorBitmap = std::vector<std::byte>;

/// Sectors of one kind, one after the other.
struct SectorRun {
  std::uint64_t count = 0;
  bool here = false;
};

/// The run that begins at `sector`, up to `end`. Pre: sector < end, and the bitmap has `end` bits.
SectorRun RunOfSectors(std::span<const std::byte> bitmap, std::uint64_t sector, std::uint64_t end);

}  // namespace vmferry::image::vhd
