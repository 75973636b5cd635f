// SPDX-License-Identifier: Apache-2.0
#include "guest/gpt.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "base/units.h"
#include "codec/digest.h"
#include "codec/zero.h"
#include "guest/fields.h"
#include "guest/partition_types.h"

namespace vmferry::guest {
namespace {

constexpr std::string_view kSignature = "EFI PART";
constexpr std::uint32_t kRevision = 0x00010000;
constexpr std::uint32_t kLeastHeaderBytes = 92;
constexpr std::size_t kCrcAt = 16;
constexpr std::uint32_t kLeastEntryBytes = 128;
/// Everyone writes 128 entries of 128 bytes; sgdisk allows more.
constexpr std::uint32_t kMaxEntryBytes = 4096;
constexpr std::uint32_t kMaxEntries = 1024;
constexpr std::uint64_t kMaxArrayBytes = 512 * kKiB;
constexpr std::size_t kLargestSector = 4096;

Error Bad(std::string_view reason, std::string message) {
  return Error(ErrorCode::kDataLoss, reason, std::move(message));
}

/// A header with its entries.
struct Copy {
  GptHeader header;
  Bytes entries;
};

/// What is at one place: a good copy, or why not. No GPT at all is the error guest.gpt.signature.
Result<Result<Copy>> ReadCopy(DiskReader& disk, std::uint64_t lba, std::uint32_t sector_bytes) {
  const auto at_bytes = CheckedMul(lba, sector_bytes);
  if (!at_bytes) {
    return Result<Copy>(Bad("guest.gpt.signature", "the place lies past the end of any disk"));
  }
  VMFERRY_ASSIGN_OR_RETURN(const Bytes sector, disk.Read(*at_bytes, sector_bytes));
  auto header = ParseGptHeader(sector, lba);
  if (!header) return Result<Copy>(std::move(header).error());
  const std::uint64_t array_bytes = std::uint64_t{header->entry_count} * header->entry_bytes;
  const auto array_at_bytes = CheckedMul(header->entries_lba, sector_bytes);
  if (!array_at_bytes || *array_at_bytes >= disk.SizeBytes() ||
      disk.SizeBytes() - *array_at_bytes < array_bytes) {
    return Result<Copy>(Bad("guest.gpt.entries", "its entries lie past the end of the disk"));
  }
  VMFERRY_ASSIGN_OR_RETURN(Bytes entries,
                           disk.Read(*array_at_bytes, static_cast<std::size_t>(array_bytes)));
  // UEFI 2.10, table 5.5: the CRC32 of the array, over NumberOfPartitionEntries entries.
  if (codec::Crc32(entries) != header->entries_crc) {
    return Result<Copy>(Bad("guest.gpt.entries_crc", "the checksum of its entries is wrong"));
  }
  return Result<Copy>(Copy{.header = *std::move(header), .entries = std::move(entries)});
}

Partition ParsePartition(std::span<const std::byte> entry, std::uint32_t index,
                         std::uint32_t sector_bytes, std::vector<std::string>& defects) {
  Partition partition = {.index = index,
                         .type = Guid(Slice(entry, 0, 16)),
                         .name = Utf16Text(Slice(entry, 56, 72)),
                         .uuid = Guid(Slice(entry, 16, 16))};
  partition.type_name = GptTypeName(partition.type);
  partition.esp = partition.type == kEspGuid;
  const std::uint64_t first = U64Le(entry, 32);
  const std::uint64_t last = U64Le(entry, 40);
  // UEFI 2.10, table 5.8: bit 2 is "legacy BIOS bootable".
  partition.bootable = (U64Le(entry, 48) & 4) != 0;
  const auto offset_bytes = CheckedMul(first, sector_bytes);
  // `last` belongs to the partition.
  const auto length_bytes =
      last >= first ? CheckedMul(last - first + 1, sector_bytes) : std::optional<std::uint64_t>();
  if (!offset_bytes || !length_bytes || *length_bytes == 0 ||
      !CheckedAdd(*offset_bytes, *length_bytes)) {
    defects.push_back(fmt::format("partition {} reaches from sector {} to {}, which is impossible",
                                  index, first, last));
    return partition;
  }
  partition.offset_bytes = *offset_bytes;
  partition.length_bytes = *length_bytes;
  return partition;
}

GptTable MakeTable(const Copy& copy, std::uint32_t sector_bytes,
                   std::vector<std::string>& defects) {
  GptTable table = {
      .sector_bytes = sector_bytes, .disk_guid = copy.header.disk_guid, .partitions = {}};
  const std::span<const std::byte> entries(copy.entries);
  for (std::uint32_t i = 0; i < copy.header.entry_count; ++i) {
    const auto entry =
        Slice(entries, std::size_t{i} * copy.header.entry_bytes, copy.header.entry_bytes);
    // UEFI 2.10, table 5.6: a type of zero is an unused entry.
    if (codec::IsZero(entry.first(std::min<std::size_t>(entry.size(), 16)))) continue;
    Partition partition = ParsePartition(entry, i + 1, sector_bytes, defects);
    const std::uint64_t first = partition.offset_bytes / sector_bytes;
    const std::uint64_t end = first + partition.length_bytes / sector_bytes;
    if (partition.length_bytes > 0 &&
        (first < copy.header.first_usable_lba || end - 1 > copy.header.last_usable_lba)) {
      defects.push_back(
          fmt::format("partition {} leaves the area that the GPT sets aside", partition.index));
    }
    table.partitions.push_back(std::move(partition));
  }
  return table;
}

/// Does anything at all stand where this error comes from?
bool IsAbsent(const Result<Copy>& copy) {
  return !copy && copy.error().reason() == "guest.gpt.signature";
}

std::optional<GptTable> FromPrimary(const Copy& primary, const Result<Copy>& backup,
                                    std::uint64_t last_lba, std::uint32_t sector_bytes,
                                    std::vector<std::string>& defects) {
  if (primary.header.alternate_lba != last_lba) {
    defects.push_back(fmt::format(
        "the GPT's copy is said to be in sector {}, but the disk's last sector is {}: the disk was "
        "{} after it was partitioned",
        primary.header.alternate_lba, last_lba,
        primary.header.alternate_lba < last_lba ? "enlarged" : "cut off"));
  }
  if (!backup) {
    defects.push_back(IsAbsent(backup)
                          ? "the GPT has no copy at the end of the disk"
                          : fmt::format("the GPT's copy is damaged: {}", backup.error().message()));
  } else if (backup->header.disk_guid != primary.header.disk_guid ||
             backup->entries != primary.entries) {
    defects.push_back("the GPT and its copy differ: the first one counts");
  }
  return MakeTable(primary, sector_bytes, defects);
}

}  // namespace

Result<GptHeader> ParseGptHeader(std::span<const std::byte> sector, std::uint64_t lba) {
  // UEFI 2.10, table 5.5, in its order.
  if (!Says(sector, 0, kSignature)) return Bad("guest.gpt.signature", "it has no signature");
  if (const std::uint32_t revision = U32Le(sector, 8); revision != kRevision) {
    return Bad("guest.gpt.revision", fmt::format("its revision is {:#x}, not 1.0", revision));
  }
  const std::uint32_t header_bytes = U32Le(sector, 12);
  if (header_bytes < kLeastHeaderBytes || header_bytes > sector.size()) {
    return Bad("guest.gpt.header_size", fmt::format("its header has {} bytes", header_bytes));
  }
  Bytes copy(sector.begin(), sector.begin() + static_cast<std::ptrdiff_t>(header_bytes));
  std::fill_n(copy.begin() + kCrcAt, 4, std::byte{0});
  if (codec::Crc32(copy) != U32Le(sector, kCrcAt)) {
    return Bad("guest.gpt.header_crc", "the checksum of its header is wrong");
  }
  GptHeader header = {.my_lba = U64Le(sector, 24),
                      .alternate_lba = U64Le(sector, 32),
                      .first_usable_lba = U64Le(sector, 40),
                      .last_usable_lba = U64Le(sector, 48),
                      .entries_lba = U64Le(sector, 72),
                      .entry_count = U32Le(sector, 80),
                      .entry_bytes = U32Le(sector, 84),
                      .entries_crc = U32Le(sector, 88),
                      .disk_guid = Guid(Slice(sector, 56, 16))};
  if (header.my_lba != lba) {
    return Bad("guest.gpt.my_lba",
               fmt::format("it says it lies in sector {}, not {}", header.my_lba, lba));
  }
  if (header.first_usable_lba > header.last_usable_lba) {
    return Bad("guest.gpt.usable", fmt::format("its usable sectors reach from {} to {}",
                                               header.first_usable_lba, header.last_usable_lba));
  }
  // An entry has 128 * 2^n bytes.
  if (header.entry_bytes < kLeastEntryBytes || header.entry_bytes > kMaxEntryBytes ||
      !std::has_single_bit(header.entry_bytes) || header.entry_count == 0 ||
      header.entry_count > kMaxEntries ||
      std::uint64_t{header.entry_bytes} * header.entry_count > kMaxArrayBytes ||
      header.entries_lba < 2) {
    return Bad("guest.gpt.entries",
               fmt::format("its {} entries of {} bytes from sector {} on are not possible",
                           header.entry_count, header.entry_bytes, header.entries_lba));
  }
  return header;
}

Result<std::optional<GptTable>> ReadGpt(DiskReader& disk, std::vector<std::string>& defects) {
  std::optional<std::string> damage;
  for (const std::uint32_t sector_bytes : {std::uint32_t{512}, std::uint32_t{kLargestSector}}) {
    const std::uint64_t sectors = disk.SizeBytes() / sector_bytes;
    if (sectors < 3) continue;
    VMFERRY_ASSIGN_OR_RETURN(const Result<Copy> primary, ReadCopy(disk, 1, sector_bytes));
    if (primary) {
      // The copy is where the header says; where that is nonsense, at the end.
      const std::uint64_t alternate =
          primary->header.alternate_lba < sectors ? primary->header.alternate_lba : sectors - 1;
      VMFERRY_ASSIGN_OR_RETURN(const Result<Copy> backup, ReadCopy(disk, alternate, sector_bytes));
      return FromPrimary(*primary, backup, sectors - 1, sector_bytes, defects);
    }
    VMFERRY_ASSIGN_OR_RETURN(const Result<Copy> backup, ReadCopy(disk, sectors - 1, sector_bytes));
    if (backup) {
      defects.push_back(
          fmt::format("the GPT at the beginning of the disk is damaged ({}): its copy "
                      "is used",
                      primary.error().message()));
      GptTable table = MakeTable(*backup, sector_bytes, defects);
      table.from_copy = true;
      return std::optional<GptTable>(std::move(table));
    }
    if (!damage && !IsAbsent(primary)) damage = primary.error().message();
  }
  if (damage) defects.push_back(fmt::format("the GPT and its copy are damaged: {}", *damage));
  return std::optional<GptTable>();
}

}  // namespace vmferry::guest
