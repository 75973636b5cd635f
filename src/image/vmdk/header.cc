// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/header.h"

#include <fmt/format.h>

#include <bit>

#include "base/byte_reader.h"
#include "image/vmdk/damage.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::uint32_t kKnownFlags =
    kFlagNewlineTest | kFlagRedundantDirectory | kFlagZeroGrains | kFlagCompressed | kFlagMarkers;
constexpr std::uint16_t kCompressNone = 0;
constexpr std::uint16_t kCompressDeflate = 1;

/// Fields that only the checks need.
struct RawFields {
  std::uint32_t entries_per_table = 0;
  std::uint32_t newlines = 0;
  std::uint16_t compression = 0;
};

Result<void> CheckFlags(const Header& header, const RawFields& raw) {
  // VMDK 5.0, "Hosted Sparse Extents": bit 16 says grains are compressed, bit 17 that there are
  // markers. Both together make the stream-optimised layout; neither makes a hosted sparse one.
  constexpr std::uint32_t kBoth = kFlagCompressed | kFlagMarkers;
  const std::uint32_t layout = header.flags & kBoth;
  if ((layout != 0 && layout != kBoth) || (header.flags & ~kKnownFlags) != 0) {
    return Damage(
        "vmdk.header.flags",
        fmt::format("the VMDK header has flags {:#x}; a stream-optimised disk has bits 16 "
                    "and 17, a sparse one neither, and none has any beyond {:#x}",
                    header.flags, kKnownFlags));
  }
  // VMDK 5.0, "Hosted Sparse Extents": compressAlgorithm is COMPRESSION_DEFLATE (1) or, when
  // grains are not compressed, COMPRESSION_NONE (0).
  if (raw.compression != (header.compressed() ? kCompressDeflate : kCompressNone)) {
    return Damage(
        "vmdk.header.compression",
        fmt::format("the VMDK header names compression method {} for grains that are {}",
                    raw.compression, header.compressed() ? "compressed" : "not compressed"));
  }
  // VMDK 5.0, "Hosted Sparse Extents": these bytes reveal a transfer that translated line ends.
  if ((header.flags & kFlagNewlineTest) != 0 && raw.newlines != 0x0a0d200a) {
    return Damage("vmdk.header.newlines",
                  fmt::format("the line-end bytes of the VMDK header are {:#010x}: a transfer in "
                              "text mode changed the file",
                              raw.newlines));
  }
  return {};
}

Result<void> CheckGeometry(const Header& header, const RawFields& raw) {
  // VMDK 5.0, "Hosted Sparse Extents": capacity is the size in sectors.
  if (header.capacity_sectors == 0 || header.capacity_sectors > kMaxCapacitySectors) {
    return Damage(
        "vmdk.header.capacity",
        fmt::format("the VMDK header gives a capacity of {} sectors; 1 to {} are possible",
                    header.capacity_sectors, kMaxCapacitySectors));
  }
  // VMDK 5.0, "Hosted Sparse Extents": grainSize is a power of two, at least 8 sectors.
  const std::uint64_t max_sectors = header.compressed() ? kMaxGrainSectors : kMaxPlainGrainSectors;
  if (!std::has_single_bit(header.grain_sectors) || header.grain_sectors < kMinGrainSectors ||
      header.grain_sectors > max_sectors) {
    return Damage("vmdk.header.grain_size",
                  fmt::format("the VMDK header gives grains of {} sectors; a power of two from {} "
                              "to {} is possible",
                              header.grain_sectors, kMinGrainSectors, max_sectors));
  }
  // VMDK 5.0, "Hosted Sparse Extents": numGTEsPerGT is 512.
  if (raw.entries_per_table != kEntriesPerTable) {
    return Damage("vmdk.header.table_size",
                  fmt::format("the VMDK header gives grain tables of {} entries, not {}",
                              raw.entries_per_table, kEntriesPerTable));
  }
  return {};
}

}  // namespace

Result<Header> ParseHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const std::uint32_t magic = reader.U32Le();
  Header header;
  RawFields raw;
  header.version = reader.U32Le();
  header.flags = reader.U32Le();
  header.capacity_sectors = reader.U64Le();
  header.grain_sectors = reader.U64Le();
  header.descriptor_offset_sectors = reader.U64Le();
  header.descriptor_sectors = reader.U64Le();
  raw.entries_per_table = reader.U32Le();
  header.redundant_directory_offset_sectors = reader.U64Le();
  header.directory_offset_sectors = reader.U64Le();
  header.overhead_sectors = reader.U64Le();
  header.unclean_shutdown = reader.U8() != 0;
  raw.newlines = reader.U32Le();
  raw.compression = reader.U16Le();
  reader.Skip(kHeaderBytes - 79);
  if (reader.failed()) {
    return Damage(
        "vmdk.header.truncated",
        fmt::format("the file ends inside the VMDK header, after {} bytes", bytes.size()));
  }
  if (magic != kMagic) {
    return Damage("vmdk.header.magic",
                  fmt::format("the VMDK header starts with {:#010x}, not KDMV", magic));
  }
  // VMDK 5.0, "Hosted Sparse Extents": version 1; products since write 2 (zeroed grains) and 3
  // (change tracking) with the same layout, which is what QEMU accepts too.
  if (header.version < 1 || header.version > 3) {
    return Unsupported("vmdk.header.version",
                       fmt::format("VMDK header version {} is not known", header.version));
  }
  VMFERRY_RETURN_IF_ERROR(CheckFlags(header, raw));
  VMFERRY_RETURN_IF_ERROR(CheckGeometry(header, raw));
  // VMDK 5.0, "Stream-Optimized Compressed Sparse Extents": gdOffset, or GD_AT_END.
  if (header.directory_offset_sectors == 0) {
    return Damage("vmdk.header.directory",
                  "the VMDK header places the grain directory at sector 0, which is the header");
  }
  return header;
}

Result<void> CheckEmbeddedDescriptor(const Header& header) {
  // VMDK 5.0, "Hosted Sparse Extents": descriptorOffset and descriptorSize tell where the embedded
  // descriptor is; both are 0 in the extents of a disk that has its descriptor in another file.
  if (header.descriptor_offset_sectors == 0 && header.descriptor_sectors == 0) {
    return ExtentAlone("it has no descriptor");
  }
  // Sector 0 is the header itself.
  if (header.descriptor_offset_sectors == 0 || header.descriptor_sectors == 0 ||
      header.descriptor_sectors > kMaxDescriptorSectors) {
    return Damage("vmdk.header.descriptor",
                  fmt::format("the VMDK header places the descriptor at sector {} with {} sectors; "
                              "it must be embedded and at most {} sectors long",
                              header.descriptor_offset_sectors, header.descriptor_sectors,
                              kMaxDescriptorSectors));
  }
  return {};
}

}  // namespace vmferry::image::vmdk
