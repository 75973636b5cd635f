// SPDX-License-Identifier: Apache-2.0
#include "guest/fat.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/units.h"
#include "guest/fields.h"

namespace vmferry::guest {
namespace {

constexpr std::size_t kEntryBytes = 32;
constexpr std::size_t kNameBytes = 11;
/// What is read of one directory: \EFI and \EFI\BOOT have a handful of entries.
constexpr std::size_t kMaxDirectoryBytes = 64 * kKiB;
constexpr std::uint8_t kAttributeLabel = 0x08;
constexpr std::uint8_t kAttributeDirectory = 0x10;
constexpr std::uint8_t kAttributeLongName = 0x0f;

/// Appends the entries of one run of a directory. False: the directory ends here.
bool AppendEntries(std::span<const std::byte> bytes, FatKind kind, std::vector<FatEntry>& entries) {
  for (std::size_t at = 0; at + kEntryBytes <= bytes.size(); at += kEntryBytes) {
    const auto raw = Slice(bytes, at, kEntryBytes);
    // FAT specification, "DIR_Name[0]": 0 ends the directory, 0xe5 is a free entry.
    const std::uint8_t first = U8(raw, 0);
    if (first == 0) return false;
    const std::uint8_t attributes = U8(raw, kNameBytes);
    if (first == 0xe5 || (attributes & kAttributeLongName) == kAttributeLongName) continue;
    FatEntry entry = {.short_name = std::string(AsText(raw.first(kNameBytes))),
                      .directory = (attributes & kAttributeDirectory) != 0,
                      .label = (attributes & kAttributeLabel) != 0,
                      .first_cluster = U16Le(raw, 26),
                      .size_bytes = U32Le(raw, 28)};
    if (kind == FatKind::kFat32) entry.first_cluster |= std::uint32_t{U16Le(raw, 20)} << 16;
    entries.push_back(std::move(entry));
  }
  return true;
}

std::uint64_t ClusterAt(const FatVolume& volume, std::uint32_t cluster) {
  return volume.clusters_bytes_at + std::uint64_t{cluster - 2} * volume.cluster_bytes;
}

/// The cluster behind `cluster`; one that the volume does not hold at the end of the chain.
Result<std::uint32_t> NextCluster(DiskReader& disk, std::uint64_t volume_at_bytes,
                                  const FatVolume& volume, std::uint32_t cluster) {
  const std::uint64_t table_at = volume_at_bytes + volume.table_bytes_at;
  // FAT specification, "FAT Data Structure": entries of 12, 16 and 32 bits, 28 of them used.
  switch (volume.kind) {
    case FatKind::kFat12: {
      VMFERRY_ASSIGN_OR_RETURN(const Bytes pair, disk.Read(table_at + cluster + cluster / 2, 2));
      const std::uint32_t value = U16Le(pair, 0);
      return (cluster & 1) != 0 ? value >> 4 : value & 0xfff;
    }
    case FatKind::kFat16: {
      VMFERRY_ASSIGN_OR_RETURN(const Bytes entry, disk.Read(table_at + 2ULL * cluster, 2));
      return std::uint32_t{U16Le(entry, 0)};
    }
    case FatKind::kFat32: {
      VMFERRY_ASSIGN_OR_RETURN(const Bytes entry, disk.Read(table_at + 4ULL * cluster, 4));
      return U32Le(entry, 0) & 0x0fffffff;
    }
  }
  return std::uint32_t{0};
}

}  // namespace

std::optional<FatVolume> ParseFat(std::span<const std::byte> sector) {
  // FAT specification, "BPB": in the order of the checks of a mount, without the boot signature,
  // which some formatters leave out.
  const std::uint32_t sector_bytes = U16Le(sector, 11);
  const std::uint32_t sectors_per_cluster = U8(sector, 13);
  const std::uint64_t reserved = U16Le(sector, 14);
  const std::uint64_t tables = U8(sector, 16);
  const std::uint32_t root_entries = U16Le(sector, 17);
  const std::uint8_t media = U8(sector, 21);
  const bool jump = U8(sector, 0) == 0xe9 || U8(sector, 0) == 0xeb;
  if (!jump || !std::has_single_bit(sector_bytes) || sector_bytes < 512 || sector_bytes > 4096 ||
      !std::has_single_bit(sectors_per_cluster) || reserved == 0 || tables == 0 || tables > 4 ||
      (media != 0xf0 && media < 0xf8)) {
    return std::nullopt;
  }
  std::uint64_t total = U16Le(sector, 19);
  if (total == 0) total = U32Le(sector, 32);
  const std::uint32_t small_table = U16Le(sector, 22);
  const bool fat32 = small_table == 0;
  const std::uint64_t table_sectors = fat32 ? U32Le(sector, 36) : small_table;
  const std::uint64_t root_sectors =
      DivCeil(std::uint64_t{root_entries} * kEntryBytes, sector_bytes);
  const std::uint64_t meta = reserved + tables * table_sectors + root_sectors;
  if (table_sectors == 0 || (fat32 ? root_entries != 0 : root_entries == 0) || total <= meta) {
    return std::nullopt;
  }
  FatVolume volume;
  volume.cluster_count = static_cast<std::uint32_t>(
      std::min<std::uint64_t>((total - meta) / sectors_per_cluster, 0x0ffffff5));
  // FAT specification, "FAT Type Determination": by the count of clusters alone.
  volume.kind = fat32                         ? FatKind::kFat32
                : volume.cluster_count < 4085 ? FatKind::kFat12
                                              : FatKind::kFat16;
  volume.cluster_bytes = sector_bytes * sectors_per_cluster;
  volume.table_bytes_at = reserved * sector_bytes;
  volume.root_bytes_at = (reserved + tables * table_sectors) * sector_bytes;
  volume.root_bytes = root_entries * static_cast<std::uint32_t>(kEntryBytes);
  volume.clusters_bytes_at = meta * sector_bytes;
  volume.root_cluster = fat32 ? U32Le(sector, 44) & 0x0fffffff : 0;
  const std::size_t extended = fat32 ? 64 : 36;
  // FAT specification, "BS_BootSig": 0x29 says that serial and label are there, 0x28 the serial.
  const std::uint8_t has = U8(sector, extended + 2);
  if (has == 0x28 || has == 0x29) volume.serial = U32Le(sector, extended + 3);
  if (has == 0x29) volume.label = Text(Slice(sector, extended + 7, kNameBytes));
  if (volume.label == "NO NAME") volume.label.clear();
  return volume;
}

Result<std::vector<FatEntry>> ReadFatDirectory(DiskReader& disk, std::uint64_t volume_at_bytes,
                                               const FatVolume& volume,
                                               const std::optional<FatEntry>& directory) {
  std::vector<FatEntry> entries;
  if (!directory && volume.kind != FatKind::kFat32) {
    VMFERRY_ASSIGN_OR_RETURN(
        const Bytes root, disk.Read(volume_at_bytes + volume.root_bytes_at,
                                    std::min<std::size_t>(volume.root_bytes, kMaxDirectoryBytes)));
    AppendEntries(root, volume.kind, entries);
    return entries;
  }
  std::uint32_t cluster = directory ? directory->first_cluster : volume.root_cluster;
  // A chain that leads back to itself ends with the bytes that are looked at.
  for (std::size_t done = 0; volume.Holds(cluster) && done < kMaxDirectoryBytes;
       done += volume.cluster_bytes) {
    VMFERRY_ASSIGN_OR_RETURN(
        const Bytes bytes,
        disk.Read(volume_at_bytes + ClusterAt(volume, cluster),
                  std::min<std::size_t>(volume.cluster_bytes, kMaxDirectoryBytes)));
    if (bytes.empty() || !AppendEntries(bytes, volume.kind, entries)) break;
    VMFERRY_ASSIGN_OR_RETURN(cluster, NextCluster(disk, volume_at_bytes, volume, cluster));
  }
  return entries;
}

Result<std::optional<FatEntry>> FindFatFile(DiskReader& disk, std::uint64_t volume_at_bytes,
                                            const FatVolume& volume,
                                            std::span<const std::string_view> path) {
  std::optional<FatEntry> found;
  for (std::size_t i = 0; i < path.size(); ++i) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<FatEntry> entries,
                             ReadFatDirectory(disk, volume_at_bytes, volume, found));
    const auto entry = std::find_if(entries.begin(), entries.end(), [&](const FatEntry& one) {
      return !one.label && one.short_name == path[i] && one.directory == (i + 1 < path.size());
    });
    if (entry == entries.end()) return std::optional<FatEntry>();
    found = *entry;
  }
  return found;
}

Result<Bytes> ReadFatFileStart(DiskReader& disk, std::uint64_t volume_at_bytes,
                               const FatVolume& volume, const FatEntry& file,
                               std::size_t length_bytes) {
  if (!volume.Holds(file.first_cluster)) return Bytes();
  return disk.Read(volume_at_bytes + ClusterAt(volume, file.first_cluster),
                   std::min<std::size_t>({length_bytes, volume.cluster_bytes, file.size_bytes}));
}

}  // namespace vmferry::guest
