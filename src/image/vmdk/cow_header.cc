// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/cow_header.h"

#include <fmt/format.h>

#include <bit>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/header.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::uint32_t kFlagInconsistent = 1U << 2;
Result<void> CheckGeometry(const CowHeader& header, std::uint64_t directory_entries) {
  // VMDK 5.0, "ESX Server Sparse Extents": numSectors.
  if (header.capacity_sectors == 0) {
    return Damage("vmdk.cow.capacity", "the COWD header gives a capacity of 0 sectors");
  }
  // VMDK 5.0, "ESX Server Sparse Extents": grainSize, in sectors; ESX makes it 1.
  if (!std::has_single_bit(header.grain_sectors) || header.grain_sectors > kMaxPlainGrainSectors) {
    return Damage("vmdk.cow.grain_size",
                  fmt::format("the COWD header gives grains of {} sectors; a power of two up to {} "
                              "is possible",
                              header.grain_sectors, kMaxPlainGrainSectors));
  }
  // VMDK 5.0, "ESX Server Sparse Extents": gdOffset and numGDEntries; a grain table has 4096
  // entries. ESX rounds the number of entries up to whole sectors.
  const std::uint64_t grains = DivCeil(header.capacity_sectors, header.grain_sectors);
  if (header.directory_offset_sectors < kCowHeaderSectors ||
      directory_entries < DivCeil(grains, kCowEntriesPerTable)) {
    return Damage("vmdk.cow.directory",
                  fmt::format("the COWD header gives a grain directory of {} entries at sector {}, "
                              "but {} entries behind sector {} are needed",
                              directory_entries, header.directory_offset_sectors,
                              DivCeil(grains, kCowEntriesPerTable), kCowHeaderSectors));
  }
  return {};
}

}  // namespace

Result<CowHeader> ParseCowHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const std::uint32_t magic = reader.U32Le();
  const std::uint32_t version = reader.U32Le();
  const std::uint32_t flags = reader.U32Le();
  CowHeader header;
  header.capacity_sectors = reader.U32Le();
  header.grain_sectors = reader.U32Le();
  header.directory_offset_sectors = reader.U32Le();
  const std::uint32_t directory_entries = reader.U32Le();
  header.free_sector = reader.U32Le();
  // Geometry or the parent's name (the descriptor counts), generations, name, description.
  reader.Skip(1024 + 4 + 4 + 60 + 512 + 4 + 8);
  header.unclean_shutdown = reader.U32Le() != 0;
  reader.Skip(396);
  if (reader.failed()) {
    return Damage(
        "vmdk.cow.truncated",
        fmt::format("the file ends inside the COWD header, after {} bytes", bytes.size()));
  }
  if (magic != kCowMagic) {
    return Damage("vmdk.cow.magic",
                  fmt::format("the extent's header starts with {:#010x}, not COWD", magic));
  }
  // VMDK 5.0, "ESX Server Sparse Extents": version 1.
  if (version != 1) {
    return Unsupported("vmdk.cow.version", fmt::format("COWD version {} is not known", version));
  }
  VMFERRY_RETURN_IF_ERROR(CheckGeometry(header, directory_entries));
  header.inconsistent = (flags & kFlagInconsistent) != 0;
  return header;
}

}  // namespace vmferry::image::vmdk
