// SPDX-License-Identifier: Apache-2.0
#include "image/extent_list.h"

#include <fmt/format.h>

namespace vmferry::image {

Result<std::vector<Extent>> WholeExtents(const DiskImage& disk, std::uint64_t offset_bytes,
                                         std::uint64_t length_bytes) {
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  VMFERRY_ASSIGN_OR_RETURN(std::vector<Extent> extents, disk.Extents(offset_bytes, length_bytes));
  while (EndOf(extents, offset_bytes) < end_bytes) {
    const std::uint64_t at_bytes = EndOf(extents, offset_bytes);
    VMFERRY_ASSIGN_OR_RETURN(const auto more, disk.Extents(at_bytes, end_bytes - at_bytes));
    VMFERRY_CHECK(!more.empty());
    for (const Extent& extent : more) AppendExtent(extents, extent);
  }
  return extents;
}

Result<void> CheckRange(std::uint64_t size_bytes, std::uint64_t offset_bytes,
                        std::uint64_t length_bytes) {
  if (offset_bytes <= size_bytes && length_bytes <= size_bytes - offset_bytes) return {};
  return Error(ErrorCode::kOutOfRange, "image.read_past_end",
               fmt::format("{} bytes at {} leave the disk of {} bytes", length_bytes, offset_bytes,
                           size_bytes))
      .With("offset_bytes", offset_bytes);
}

}  // namespace vmferry::image
