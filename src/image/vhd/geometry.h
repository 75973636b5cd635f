// SPDX-License-Identifier: Apache-2.0
//
// Geometry: cylinders, heads and sectors, by which Virtual PC counts the size of a disk.

#pragma once

#include <cstdint>

#include "base/units.h"

namespace vmferry::image::vhd {

struct Geometry {
  std::uint16_t cylinders = 0;
  std::uint8_t heads = 0;
  std::uint8_t sectors_per_track = 0;

  std::uint64_t sectors() const { return std::uint64_t{cylinders} * heads * sectors_per_track; }
  std::uint64_t bytes() const { return sectors() * kSectorBytes; }

  bool operator==(const Geometry&) const = default;
};

/// The largest geometry there is, 127.5 GiB: a disk that has it is at least so large.
inline constexpr std::uint64_t kMaxGeometrySectors = std::uint64_t{65535} * 16 * 255;

/// The geometry of a disk of `sectors` sectors: the largest that is not larger than the disk,
/// as the specification's appendix finds it.
Geometry GeometryOf(std::uint64_t sectors);

}  // namespace vmferry::image::vhd
