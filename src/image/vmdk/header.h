// SPDX-License-Identifier: Apache-2.0
//
// The sparse extent header: sector 0 of a hosted sparse or stream-optimised extent, and the footer
// of one whose grain directory comes last.
//
// Specification: VMware "Virtual Disk Format 5.0", section "Hosted Sparse Extents".

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/units.h"

namespace vmferry::image::vmdk {

inline constexpr std::size_t kHeaderBytes = 512;
inline constexpr std::uint32_t kMagic = 0x564d444b;  // "KDMV" on disk

inline constexpr std::uint32_t kFlagNewlineTest = 1U << 0;
inline constexpr std::uint32_t kFlagRedundantDirectory = 1U << 1;
inline constexpr std::uint32_t kFlagZeroGrains = 1U << 2;
inline constexpr std::uint32_t kFlagCompressed = 1U << 16;
inline constexpr std::uint32_t kFlagMarkers = 1U << 17;

/// Grain directory offset that means: the real header is the footer.
inline constexpr std::uint64_t kDirectoryAtEnd = ~std::uint64_t{0};

/// 64 TiB: EC2's largest volume (io2 Block Express), and beyond what VMware calls a sparse disk.
inline constexpr std::uint64_t kMaxCapacitySectors = 64 * kTiB / kSectorBytes;
/// 4 KiB to 2 MiB where grains are compressed. The specification gives the lower bound; the upper
/// one bounds our scratch memory. Every writer we know uses 64 KiB.
inline constexpr std::uint64_t kMinGrainSectors = 8;
inline constexpr std::uint64_t kMaxGrainSectors = 4096;
/// 1 GiB where they are not: the bound QEMU uses in block/vmdk.c.
inline constexpr std::uint64_t kMaxPlainGrainSectors = 0x200000;
/// The specification's constant.
inline constexpr std::uint32_t kEntriesPerTable = 512;
/// The bound QEMU uses in block/vmdk.c.
inline constexpr std::uint64_t kMaxDescriptorSectors = kMiB / kSectorBytes;

/// The header in host order. Each field was checked by itself and against the others, but not
/// against the size of the file.
struct Header {
  std::uint32_t version = 0;
  std::uint32_t flags = 0;
  std::uint64_t capacity_sectors = 0;
  std::uint64_t grain_sectors = 0;
  std::uint64_t descriptor_offset_sectors = 0;
  std::uint64_t descriptor_sectors = 0;
  std::uint64_t redundant_directory_offset_sectors = 0;
  std::uint64_t directory_offset_sectors = 0;  ///< kDirectoryAtEnd: see the footer
  std::uint64_t overhead_sectors = 0;
  bool unclean_shutdown = false;

  /// True for a stream-optimised extent, false for a hosted sparse one.
  bool compressed() const { return (flags & kFlagCompressed) != 0; }
  std::uint64_t grain_bytes() const { return grain_sectors * kSectorBytes; }
  std::uint64_t capacity_bytes() const { return capacity_sectors * kSectorBytes; }
  std::uint64_t grain_count() const { return DivCeil(capacity_sectors, grain_sectors); }
  std::uint64_t table_count() const { return DivCeil(grain_count(), kEntriesPerTable); }
};

/// Reads the header of a hosted sparse or stream-optimised extent.
///
/// Errors: kDataLoss vmdk.header.truncated, .magic, .flags, .compression, .newlines, .capacity,
///         .grain_size, .table_size, .directory; kUnimplemented vmdk.header.version.
Result<Header> ParseHeader(std::span<const std::byte> bytes);

/// Holds the header to what a disk of one file needs: that its descriptor is embedded.
///
/// Errors: kDataLoss vmdk.header.descriptor; kInvalidArgument vmdk.extent.alone when the file is a
///         part of a disk and has no descriptor.
Result<void> CheckEmbeddedDescriptor(const Header& header);

}  // namespace vmferry::image::vmdk
