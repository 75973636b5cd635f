// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/sector_bitmap.h"

#include <algorithm>

#include "base/check.h"

namespace vmferry::image::vhd {
namespace {

// VHD 1.0, "Block Allocation Table and Data Blocks": a set bit is a sector that is here; the
// highest bit of a byte is its first sector.
bool IsHere(std::span<const std::byte> bitmap, std::uint64_t sector) {
  return (bitmap[sector / 8] & (std::byte{0x80} >> (sector % 8))) != std::byte{0};
}

}  // namespace

SectorRun RunOfSectors(std::span<const std::byte> bitmap, std::uint64_t sector, std::uint64_t end) {
  VMFERRY_CHECK(sector < end && end <= bitmap.size() * 8);
  const bool here = IsHere(bitmap, sector);
  const std::byte same = here ? std::byte{0xff} : std::byte{0};
  std::uint64_t at = sector + 1;
  while (at < end) {
    if (at % 8 == 0 && bitmap[at / 8] == same) {
      at = std::min(at + 8, end);
    } else if (IsHere(bitmap, at) == here) {
      ++at;
    } else {
      break;
    }
  }
  return {at - sector, here};
}

}  // namespace vmferry::image::vhd
