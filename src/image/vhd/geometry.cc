// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/geometry.h"

#include <algorithm>

namespace vmferry::image::vhd {
namespace {

constexpr std::uint64_t kMaxHeads = 16;
/// INT 13h counts cylinders up to 1,024; the layouts below keep to that while they can.
constexpr std::uint64_t kBiosCylinders = 1024;

}  // namespace

// VHD 1.0, "Appendix: CHS Calculation": 17 sectors for each track with as many heads as needed,
// then 31 and 63 with 16 heads, then 255.
Geometry GeometryOf(std::uint64_t sectors) {
  sectors = std::min(sectors, kMaxGeometrySectors);
  std::uint64_t per_track = 17;
  std::uint64_t heads = std::max<std::uint64_t>(DivCeil(sectors / per_track, kBiosCylinders), 4);
  const auto too_many_tracks = [&] { return sectors / per_track >= heads * kBiosCylinders; };
  if (sectors >= std::uint64_t{65535} * kMaxHeads * 63) {
    per_track = 255;
    heads = kMaxHeads;
  } else if (heads > kMaxHeads || too_many_tracks()) {
    heads = kMaxHeads;
    per_track = 31;
    if (too_many_tracks()) per_track = 63;
  }
  return {.cylinders = static_cast<std::uint16_t>(sectors / per_track / heads),
          .heads = static_cast<std::uint8_t>(heads),
          .sectors_per_track = static_cast<std::uint8_t>(per_track)};
}

}  // namespace vmferry::image::vhd
