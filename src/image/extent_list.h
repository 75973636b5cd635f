// SPDX-License-Identifier: Apache-2.0
//
// What every format adapter needs to answer Read and Extents.

#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"

namespace vmferry::image {

/// Adds a run behind the last one, joining the two when they are of one kind. Empty runs vanish.
inline void AppendExtent(std::vector<Extent>& extents, const Extent& extent) {
  if (extent.length_bytes == 0) return;
  if (!extents.empty() && extents.back().kind == extent.kind) {
    extents.back().length_bytes += extent.length_bytes;
    return;
  }
  extents.push_back(extent);
}

/// Where the list ends; `offset_bytes` when it is empty.
inline std::uint64_t EndOf(const std::vector<Extent>& extents, std::uint64_t offset_bytes) {
  return extents.empty() ? offset_bytes : extents.back().offset_bytes + extents.back().length_bytes;
}

/// All extents of a range, however many: for ranges that bound their number (a part, a block).
/// Errors: as DiskImage::Extents.
Result<std::vector<Extent>> WholeExtents(const DiskImage& disk, std::uint64_t offset_bytes,
                                         std::uint64_t length_bytes);

/// Errors: kOutOfRange image.read_past_end when the range leaves a disk of `size_bytes`.
Result<void> CheckRange(std::uint64_t size_bytes, std::uint64_t offset_bytes,
                        std::uint64_t length_bytes);

}  // namespace vmferry::image
