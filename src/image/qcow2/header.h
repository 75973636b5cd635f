// SPDX-License-Identifier: Apache-2.0
//
// The header of a QCOW2 file, version 2 or 3, and the header extensions behind it.
//
// Specification: QEMU's docs/interop/qcow2.txt, "Header" and "Header extensions". Limits that the
// specification leaves open are those of QEMU's reader.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace vmferry::image::qcow2 {

inline constexpr std::uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

inline constexpr std::size_t kHeaderBytesV2 = 72;
inline constexpr std::size_t kHeaderBytesV3 = 104;
/// With the compression type: what we look at, and what QEMU writes since 5.1.
inline constexpr std::size_t kHeaderBytesFull = 112;

/// 512 bytes to 2 MiB: the specification's lower and QEMU's upper bound.
inline constexpr std::uint32_t kMinClusterBits = 9;
inline constexpr std::uint32_t kMaxClusterBits = 21;
/// Subclusters, 32 of them, are at least a sector long.
inline constexpr std::uint32_t kMinClusterBitsExtended = 14;
/// QEMU's bound on an L1 table; bounds our memory.
inline constexpr std::uint64_t kMaxL1Bytes = 32 * kMiB;
/// QEMU's bound on a refcount table.
inline constexpr std::uint64_t kMaxRefcountTableBytes = 8 * kMiB;
/// QEMU's bound on internal VM snapshots.
inline constexpr std::uint32_t kMaxSnapshots = 65536;
/// The specification's bound on a backing file's name.
inline constexpr std::uint32_t kMaxBackingNameBytes = 1023;
/// What QEMU can address.
inline constexpr std::uint64_t kMaxVirtualBytes = ~std::uint64_t{0} >> 1;

inline constexpr std::uint64_t kIncompatibleDirty = 1U << 0;
inline constexpr std::uint64_t kIncompatibleCorrupt = 1U << 1;
inline constexpr std::uint64_t kIncompatibleExternalData = 1U << 2;
inline constexpr std::uint64_t kIncompatibleCompression = 1U << 3;
inline constexpr std::uint64_t kIncompatibleExtendedL2 = 1U << 4;

inline constexpr std::uint64_t kCompatibleLazyRefcounts = 1U << 0;

inline constexpr std::uint64_t kAutoclearBitmaps = 1U << 0;

enum class Compression : std::uint8_t { kZlib = 0, kZstd = 1 };

/// The header in host order. Each field was checked by itself and against the others, but not
/// against the size of the file.
struct Header {
  std::uint32_t version = 0;
  std::uint64_t backing_offset_bytes = 0;  ///< 0: none
  std::uint32_t backing_length_bytes = 0;
  std::uint32_t cluster_bits = 0;
  std::uint64_t size_bytes = 0;
  std::uint32_t encryption_method = 0;  ///< 0 none, 1 AES, 2 LUKS
  std::uint32_t l1_entries = 0;
  std::uint64_t l1_offset_bytes = 0;
  std::uint64_t refcount_table_offset_bytes = 0;
  std::uint32_t refcount_table_clusters = 0;
  std::uint32_t snapshot_count = 0;
  std::uint64_t snapshots_offset_bytes = 0;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint32_t refcount_order = 4;
  std::uint32_t header_bytes = 0;
  Compression compression = Compression::kZlib;

  std::uint64_t cluster_bytes() const { return std::uint64_t{1} << cluster_bits; }
  bool extended_l2() const { return (incompatible & kIncompatibleExtendedL2) != 0; }
  /// Bytes of one L2 entry.
  std::uint64_t l2_entry_bytes() const { return extended_l2() ? 16 : 8; }
  /// Clusters that one L2 table maps.
  std::uint64_t l2_entries() const { return cluster_bytes() / l2_entry_bytes(); }
  /// Guest bytes that one L2 table maps; at most 2^39.
  std::uint64_t l2_span_bytes() const { return l2_entries() << cluster_bits; }
};

/// What the header extensions say.
struct HeaderExtensions {
  std::optional<std::string> backing_format;
  std::optional<std::string> data_file;
  /// Persistent dirty bitmaps.
  std::uint32_t bitmap_count = 0;
  /// A name for a feature bit, from the file's own table.
  struct FeatureName {
    std::uint8_t kind = 0;  ///< 0 incompatible, 1 compatible, 2 autoclear
    std::uint8_t bit = 0;
    std::string name;
  };
  std::vector<FeatureName> feature_names;
};

/// Reads the header from the first bytes of the file.
///
/// Errors: kDataLoss qcow2.header.truncated, .magic, .cluster_size, .length, .backing, .size,
///         .encryption, .l1, .refcounts, .snapshots, .compression; kUnimplemented
///         qcow2.header.version.
Result<Header> ParseHeader(std::span<const std::byte> bytes);

/// Reads the extensions from `bytes`, the first cluster of the file or what there is of it.
/// Errors: kDataLoss qcow2.extension.length, qcow2.extension.truncated.
Result<HeaderExtensions> ParseExtensions(const Header& header, std::span<const std::byte> bytes);

/// Refuses what the header says is needed to read the file and is not known here: encryption, and
/// incompatible features, by the names the file gives them.
///
/// Errors: kUnimplemented qcow2.encrypted, qcow2.header.features.
Result<void> CheckFeatures(const Header& header, const HeaderExtensions& extensions);

}  // namespace vmferry::image::qcow2
