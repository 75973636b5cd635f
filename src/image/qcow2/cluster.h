// SPDX-License-Identifier: Apache-2.0
//
// L1 and L2 entries: what 64 bits (128 with extended L2 entries) say about a cluster.
//
// Specification: QEMU's docs/interop/qcow2.txt, "L1 table entry", "L2 table entry", "Compressed
// Clusters Descriptor", "Extended L2 Entries". Reserved bits are passed over, as QEMU's reader
// does.

#pragma once

#include <cstdint>

#include "image/qcow2/header.h"

namespace vmferry::image::qcow2 {

/// Bits 9 to 55 of an L1 or L2 entry: an offset in the file.
inline constexpr std::uint64_t kOffsetMask = 0x00fffffffffffe00;
/// The cluster's refcount is exactly 1: of use for writing only.
inline constexpr std::uint64_t kCopiedFlag = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kCompressedFlag = std::uint64_t{1} << 62;
/// Reads as zeros (version 3, without extended L2 entries).
inline constexpr std::uint64_t kZeroFlag = 1;

inline constexpr unsigned kSubclusters = 32;

enum class ClusterKind {
  kAbsent,
  kZero,
  kPlain,
  kCompressed,
  kInvalid,  ///< a contradiction
};

/// Where compressed data lies.
struct CompressedRange {
  std::uint64_t offset_bytes = 0;
  /// Up to the end of the last of its 512-byte sectors, which the file need not have in full.
  std::uint64_t length_bytes = 0;
};

constexpr CompressedRange DecodeCompressed(const Header& header, std::uint64_t entry) {
  const unsigned offset_bits = 62 - (header.cluster_bits - 8);
  const std::uint64_t offset_bytes = entry & ((std::uint64_t{1} << offset_bits) - 1);
  const std::uint64_t more_sectors =
      (entry & (kCompressedFlag - 1)) >> offset_bits;  // beyond the one it begins in
  return {offset_bytes, (more_sectors + 1) * kSectorBytes - offset_bytes % kSectorBytes};
}

/// The kind of a whole cluster, without extended L2 entries. `has_data_file`: offset 0 is a place.
constexpr ClusterKind KindOfCluster(const Header& header, std::uint64_t entry, bool has_data_file) {
  if ((entry & kCompressedFlag) != 0) return ClusterKind::kCompressed;
  if ((entry & kZeroFlag) != 0) {
    return header.version >= 3 ? ClusterKind::kZero : ClusterKind::kInvalid;
  }
  if ((entry & kOffsetMask) != 0) return ClusterKind::kPlain;
  return has_data_file && (entry & kCopiedFlag) != 0 ? ClusterKind::kPlain : ClusterKind::kAbsent;
}

/// The kind of one subcluster. `bitmap`: bits 0 to 31 say allocated, bits 32 to 63 zero.
constexpr ClusterKind KindOfSubcluster(std::uint64_t entry, std::uint64_t bitmap, unsigned index,
                                       bool has_data_file) {
  if ((entry & kCompressedFlag) != 0) return ClusterKind::kCompressed;
  const bool placed = (entry & kOffsetMask) != 0 || (has_data_file && (entry & kCopiedFlag) != 0);
  const auto allocated = static_cast<std::uint32_t>(bitmap);
  const auto zero = static_cast<std::uint32_t>(bitmap >> 32);
  // "Extended L2 Entries": both bits of one subcluster at once are not possible, nor is an
  // allocated one of a cluster without a place.
  if ((allocated & zero) != 0 || (!placed && allocated != 0)) return ClusterKind::kInvalid;
  if ((zero >> index & 1) != 0) return ClusterKind::kZero;
  return (allocated >> index & 1) != 0 ? ClusterKind::kPlain : ClusterKind::kAbsent;
}

}  // namespace vmferry::image::qcow2
