// SPDX-License-Identifier: Apache-2.0
#include "image/encoder.h"

#include <cstring>

namespace vmferry::image {

Result<void> ReadPart(const DiskImage& disk, const GuestPart& part, std::span<std::byte> out) {
  VMFERRY_CHECK(out.size() == part.length_bytes);
  for (const Extent& extent : part.extents) {
    const std::span<std::byte> run =
        out.subspan(extent.offset_bytes - part.offset_bytes, extent.length_bytes);
    if (extent.kind == ExtentKind::kData) {
      VMFERRY_RETURN_IF_ERROR(disk.Read(extent.offset_bytes, run));
    } else {
      std::memset(run.data(), 0, run.size());
    }
  }
  return {};
}

bool HoldsData(const GuestPart& part, std::size_t& next, std::uint64_t offset_bytes,
               std::uint64_t length_bytes) {
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  while (next < part.extents.size()) {
    const Extent& extent = part.extents[next];
    if (extent.offset_bytes >= end_bytes) return false;
    const std::uint64_t extent_end_bytes = extent.offset_bytes + extent.length_bytes;
    if (extent.kind == ExtentKind::kData && extent_end_bytes > offset_bytes) return true;
    if (extent_end_bytes > end_bytes) return false;
    ++next;
  }
  return false;
}

}  // namespace vmferry::image
