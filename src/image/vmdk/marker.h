// SPDX-License-Identifier: Apache-2.0
//
// Markers: what stands in front of every grain and table of a stream-optimised extent.
//
// Specification: VMware "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse
// Extents".

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmferry::image::vmdk {

/// In front of the compressed bytes of a grain: its first guest sector and their number.
struct GrainMarker {
  std::uint64_t guest_sector = 0;
  std::uint32_t compressed_bytes = 0;  ///< 0 would make it a metadata marker
};
inline constexpr std::size_t kGrainMarkerBytes = 12;

enum class MetadataKind : std::uint32_t {
  kEndOfStream = 0,
  kGrainTable = 1,
  kGrainDirectory = 2,
  kFooter = 3,
};

/// A sector of its own, in front of a table or at the end.
struct MetadataMarker {
  std::uint64_t sectors = 0;  ///< of the structure that follows
  std::uint32_t size = 0;     ///< always 0: that is how it differs from a grain marker
  std::uint32_t kind = 0;     ///< a MetadataKind
};
inline constexpr std::size_t kMetadataMarkerBytes = 512;

/// `bytes` holds at least kGrainMarkerBytes.
GrainMarker ParseGrainMarker(std::span<const std::byte> bytes);
/// `bytes` holds at least 16 bytes.
MetadataMarker ParseMetadataMarker(std::span<const std::byte> bytes);

}  // namespace vmferry::image::vmdk
