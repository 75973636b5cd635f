// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/encoder_base.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/units.h"

namespace vmferry::image::vhd {
namespace {

constexpr std::uint64_t kVhdEpochUnixSeconds = 946684800;  // 2000-01-01

std::uint32_t CreatedSeconds(const EncoderOptions& options) {
  if (options.unix_time_seconds <= kVhdEpochUnixSeconds) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(
      options.unix_time_seconds - kVhdEpochUnixSeconds, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

Result<EncoderInfo> DescribeEncoder(std::uint64_t size_bytes, DiskType type) {
  if (size_bytes > kMaxDiskBytes) {
    return Error(ErrorCode::kOutOfRange, "vhd.encoder.too_large",
                 fmt::format("the disk has {} bytes; a VHD has {} (2,040 GiB) at most", size_bytes,
                             kMaxDiskBytes))
        .WithRemedy("write it in another format: raw, QCOW2 or VMDK");
  }
  const std::uint64_t sectors = DivCeil(size_bytes, kSectorBytes);
  EncoderInfo info = {.id = {},
                      .format = "vhd",
                      .subformat = TypeName(type),
                      .wire_format = "VHD",
                      .virtual_size_bytes = sectors * kSectorBytes,
                      .output_size_bytes = {},
                      .remarks = {}};
  if (info.virtual_size_bytes != size_bytes) {
    info.remarks.push_back(
        fmt::format("the disk's size of {} bytes was rounded up to whole sectors: {} bytes",
                    size_bytes, info.virtual_size_bytes));
  }
  const Geometry geometry = GeometryOf(sectors);
  if (geometry.bytes() != info.virtual_size_bytes && geometry.sectors() != kMaxGeometrySectors) {
    info.remarks.push_back(fmt::format(
        "no geometry gives the disk's size of {} bytes: a program that counts by geometry, as "
        "Virtual PC does, sees the first {} bytes only",
        info.virtual_size_bytes, geometry.bytes()));
  }
  return info;
}

Footer MakeFooter(const EncoderInfo& info, DiskType type, const UniqueId& id,
                  const EncoderOptions& options) {
  return {.features = kFeatureReserved,
          .data_offset_bytes = type == DiskType::kFixed ? kNoOffset : kFooterBytes,
          .created_seconds = CreatedSeconds(options),
          // Of the creators whose disks have the current size, the one that every reader which
          // looks at the creator knows.
          .creator_app = {'w', 'i', 'n', ' '},
          .creator_version = 0x000a0000,
          .creator_host = {'W', 'i', '2', 'k'},
          .original_size_bytes = info.virtual_size_bytes,
          .current_size_bytes = info.virtual_size_bytes,
          .geometry = GeometryOf(info.virtual_size_bytes / kSectorBytes),
          .type = type,
          .unique_id = id,
          .saved_state = false};
}

}  // namespace vmferry::image::vhd
