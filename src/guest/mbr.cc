// SPDX-License-Identifier: Apache-2.0
#include "guest/mbr.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/units.h"
#include "guest/fields.h"
#include "guest/partition_types.h"

namespace vmferry::guest {
namespace {

constexpr std::size_t kSignatureAt = 440;
constexpr std::size_t kEntriesAt = 446;
constexpr std::size_t kEntryBytes = 16;
constexpr std::size_t kBootSignatureAt = 510;
constexpr std::uint16_t kBootSignature = 0xaa55;
/// Linux's fdisk stops at 60 partitions of a disk; no one has more.
constexpr std::size_t kMaxLogical = 128;

MbrEntry ParseEntry(std::span<const std::byte> sector, std::size_t index) {
  ByteReader reader = At(sector, kEntriesAt + index * kEntryBytes);
  MbrEntry entry;
  entry.status = reader.U8();
  reader.Skip(3);  // first sector as cylinder, head, sector: means nothing on large disks
  entry.type = reader.U8();
  reader.Skip(3);
  entry.start_sectors = reader.U32Le();
  entry.count_sectors = reader.U32Le();
  return entry;
}

std::array<MbrEntry, 4> ParseEntries(std::span<const std::byte> sector) {
  std::array<MbrEntry, 4> entries;
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = ParseEntry(sector, i);
  return entries;
}

Partition MakePartition(const MbrEntry& entry, std::uint64_t base_sectors, std::uint32_t index,
                        std::uint32_t signature) {
  // 33 bits of sectors at most: no overflow.
  return {.index = index,
          .offset_bytes = (base_sectors + entry.start_sectors) * kSectorBytes,
          .length_bytes = entry.count_sectors * kSectorBytes,
          .type = fmt::format("0x{:02x}", entry.type),
          .type_name = std::string(MbrTypeName(entry.type)),
          .uuid = fmt::format("{:08x}-{:02x}", signature, index),
          .bootable = entry.status == 0x80,
          .extended = IsExtended(entry.type),
          .esp = entry.type == kMbrEsp};
}

/// Follows the chain of extended boot records: each holds one logical partition, relative to
/// itself, and a link to the next, relative to the extended partition.
Result<void> ReadLogical(DiskReader& disk, const MbrEntry& frame, std::uint32_t signature,
                         std::vector<Partition>& partitions, std::vector<std::string>& defects) {
  const std::uint64_t frame_begin = frame.start_sectors;
  const std::uint64_t frame_end = frame_begin + frame.count_sectors;
  std::set<std::uint64_t> seen;
  std::uint64_t at_sectors = frame_begin;
  std::uint32_t index = 5;
  while (true) {
    if (!seen.insert(at_sectors).second) {
      defects.push_back("the chain of logical partitions leads back to itself");
      return {};
    }
    if (seen.size() > kMaxLogical) {
      defects.push_back(
          fmt::format("there are more than {} logical partitions: the rest is "
                      "not looked at",
                      kMaxLogical));
      return {};
    }
    VMFERRY_ASSIGN_OR_RETURN(const Bytes sector,
                             disk.Read(at_sectors * kSectorBytes, kSectorBytes));
    if (disk.exhausted()) return {};
    if (U16Le(sector, kBootSignatureAt) != kBootSignature) {
      defects.push_back(
          fmt::format("the extended boot record in sector {} {}", at_sectors,
                      sector.empty() ? "lies past the end of the disk" : "has no signature"));
      return {};
    }
    const MbrEntry* logical = nullptr;
    const MbrEntry* link = nullptr;
    const std::array<MbrEntry, 4> entries = ParseEntries(sector);
    for (const MbrEntry& entry : entries) {
      if (entry.empty()) continue;
      const MbrEntry*& place = IsExtended(entry.type) ? link : logical;
      if (place == nullptr) place = &entry;
    }
    if (logical != nullptr) {
      Partition partition = MakePartition(*logical, at_sectors, index, signature);
      partition.logical = true;
      if (at_sectors + logical->start_sectors + logical->count_sectors > frame_end) {
        defects.push_back(
            fmt::format("partition {} reaches past the extended partition it lies in", index));
      }
      partitions.push_back(std::move(partition));
      ++index;
    }
    if (link == nullptr) return {};
    at_sectors = frame_begin + link->start_sectors;
    if (link->start_sectors >= frame.count_sectors) {
      defects.push_back("the chain of logical partitions leaves the extended partition");
      return {};
    }
  }
}

}  // namespace

bool MbrTable::HasProtective() const {
  return std::any_of(entries.begin(), entries.end(), [](const MbrEntry& entry) {
    return entry.type == kMbrProtective && !entry.empty();
  });
}

std::optional<MbrTable> ParseMbr(std::span<const std::byte> sector) {
  // UEFI 2.10, table 5.1: the signature is 0xaa55 at byte 510.
  if (U16Le(sector, kBootSignatureAt) != kBootSignature) return std::nullopt;
  MbrTable table = {.signature = U32Le(sector, kSignatureAt), .entries = ParseEntries(sector)};
  bool any = false;
  for (const MbrEntry& entry : table.entries) {
    // UEFI 2.10, table 5.2: 0x80 is bootable, 0 is not, anything else does not belong there.
    if ((entry.status & 0x7f) != 0) return std::nullopt;
    any = any || !entry.empty();
  }
  if (!any) return std::nullopt;
  return table;
}

Result<std::vector<Partition>> ReadMbrPartitions(DiskReader& disk, const MbrTable& table,
                                                 std::vector<std::string>& defects) {
  std::vector<Partition> partitions;
  const MbrEntry* frame = nullptr;
  std::uint32_t index = 0;
  for (const MbrEntry& entry : table.entries) {
    ++index;
    if (entry.empty()) continue;
    partitions.push_back(MakePartition(entry, 0, index, table.signature));
    if (!IsExtended(entry.type)) continue;
    if (frame != nullptr) {
      defects.push_back("there are two extended partitions: only the first is looked into");
      continue;
    }
    frame = &entry;
  }
  if (frame != nullptr) {
    VMFERRY_RETURN_IF_ERROR(ReadLogical(disk, *frame, table.signature, partitions, defects));
  }
  return partitions;
}

}  // namespace vmferry::guest
