// SPDX-License-Identifier: Apache-2.0
//
// FAT12, FAT16 and FAT32: enough to find a file by its short name and to read its beginning.
//
// Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (below: the FAT specification).

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "guest/disk_reader.h"

namespace vmferry::guest {

enum class FatKind { kFat12, kFat16, kFat32 };

/// The geometry of a FAT volume, in bytes from its start. Every value lies inside the volume.
struct FatVolume {
  FatKind kind = FatKind::kFat12;
  std::uint32_t cluster_bytes = 0;
  std::uint64_t table_bytes_at = 0;
  std::uint64_t root_bytes_at = 0;      ///< FAT12 and FAT16
  std::uint32_t root_bytes = 0;         ///< FAT12 and FAT16
  std::uint32_t root_cluster = 0;       ///< FAT32
  std::uint64_t clusters_bytes_at = 0;  ///< of cluster 2
  std::uint32_t cluster_count = 0;
  std::uint32_t serial = 0;
  std::string label;  ///< of the boot sector; empty when it has none

  /// Cluster numbers run from 2.
  bool Holds(std::uint32_t cluster) const { return cluster >= 2 && cluster - 2 < cluster_count; }
};

/// Reads a boot sector. Nothing when it is not one of a FAT volume.
std::optional<FatVolume> ParseFat(std::span<const std::byte> sector);

struct FatEntry {
  std::string short_name;  ///< the 11 stored characters
  bool directory = false;
  bool label = false;
  std::uint32_t first_cluster = 0;
  std::uint32_t size_bytes = 0;
};

/// Entries of one directory: at most 64 KiB of it.
/// Errors: those of the disk.
Result<std::vector<FatEntry>> ReadFatDirectory(DiskReader& disk, std::uint64_t volume_at_bytes,
                                               const FatVolume& volume,
                                               const std::optional<FatEntry>& directory);

/// Follows a path of stored names ("EFI        ") from the root; nothing when it leads nowhere.
/// Errors: those of the disk.
Result<std::optional<FatEntry>> FindFatFile(DiskReader& disk, std::uint64_t volume_at_bytes,
                                            const FatVolume& volume,
                                            std::span<const std::string_view> path);

/// The first bytes of a file: at most one cluster.
/// Errors: those of the disk.
Result<Bytes> ReadFatFileStart(DiskReader& disk, std::uint64_t volume_at_bytes,
                               const FatVolume& volume, const FatEntry& file,
                               std::size_t length_bytes);

}  // namespace vmferry::guest
