// SPDX-License-Identifier: Apache-2.0
#include "region/import/partitions.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/byte_reader.h"
#include "base/units.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kSector = 512;
constexpr std::size_t kCodeBytes = 440;
constexpr std::size_t kLogicalMax = 128;
constexpr std::uint32_t kGptEntriesMax = 1024;
constexpr std::uint32_t kGptEntryBytesMax = 4096;

constexpr std::uint8_t kProtective = 0xee;
constexpr std::uint8_t kEfiSystem = 0xef;
constexpr std::uint8_t kLinuxLvm = 0x8e;

using Sector = std::array<std::byte, kSector>;
using Guid = std::array<unsigned char, 16>;  // as stored
// C12A7328-F81F-11D2-BA4B-00A0C93EC93B
constexpr Guid kGptEfiSystem = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
// 21686148-6449-6E6F-744E-656564454649
constexpr Guid kGptBiosBoot = {0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e,
                               0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49};
// E6D6D379-F507-44C2-A23C-238F2A3DF928
constexpr Guid kGptLvm = {0x79, 0xd3, 0xd6, 0xe6, 0x07, 0xf5, 0xc2, 0x44,
                          0xa2, 0x3c, 0x23, 0x8f, 0x2a, 0x3d, 0xf9, 0x28};

struct MbrEntry {
  std::uint8_t status = 0;
  std::uint8_t type = 0;
  std::uint64_t start = 0;   // sectors
  std::uint64_t length = 0;  // sectors
};

bool IsExtended(std::uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

bool HasSignature(const Sector& sector) {
  return std::to_integer<int>(sector[510]) == 0x55 && std::to_integer<int>(sector[511]) == 0xaa;
}

std::array<MbrEntry, 4> Entries(const Sector& sector) {
  std::array<MbrEntry, 4> entries;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    ByteReader reader{std::span(sector).subspan(446 + 16 * i, 16)};
    entries[i].status = reader.U8();
    reader.Skip(3);
    entries[i].type = reader.U8();
    reader.Skip(3);
    entries[i].start = reader.U32Le();
    entries[i].length = reader.U32Le();
  }
  return entries;
}

class Reader {
 public:
  Reader(const sys::File& disk, std::uint64_t disk_bytes)
      : disk_(disk), sectors_(disk_bytes / kSector) {}

  Result<PartitionTable> Run() {
    if (sectors_ < 2) return table_;
    Sector first = {};
    VMFERRY_RETURN_IF_ERROR(disk_.ReadAt(0, first));
    table_.boot_code = std::any_of(first.begin(), first.begin() + kCodeBytes,
                                   [](std::byte byte) { return byte != std::byte{0}; });
    if (!HasSignature(first)) return table_;
    const auto entries = Entries(first);
    const bool protective = std::any_of(entries.begin(), entries.end(), [](const MbrEntry& entry) {
      return entry.type == kProtective;
    });
    if (protective) {
      VMFERRY_RETURN_IF_ERROR(ReadGpt());
    } else {
      VMFERRY_RETURN_IF_ERROR(ReadMbr(entries));
    }
    return table_;
  }

 private:
  bool Inside(std::uint64_t start, std::uint64_t length) const {
    return length > 0 && start > 0 && start < sectors_ && length <= sectors_ - start;
  }

  void Add(std::string name, const MbrEntry& entry) {
    table_.partitions.push_back({.name = std::move(name),
                                 .start_bytes = entry.start * kSector,
                                 .length_bytes = entry.length * kSector,
                                 .efi_system = entry.type == kEfiSystem,
                                 .lvm = entry.type == kLinuxLvm});
  }

  Result<void> ReadMbr(const std::array<MbrEntry, 4>& entries) {
    // A file system's own first sector ends with the same signature.
    for (const MbrEntry& entry : entries) {
      if (entry.status != 0 && entry.status != 0x80) return {};
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const MbrEntry& entry = entries[i];
      if (entry.type == 0 || !Inside(entry.start, entry.length)) continue;
      if (IsExtended(entry.type)) {
        VMFERRY_RETURN_IF_ERROR(ReadLogical(entry.start));
      } else {
        Add(fmt::format("msdos{}", i + 1), entry);
      }
    }
    if (!table_.partitions.empty()) table_.kind = TableKind::kMbr;
    return {};
  }

  // A chain of sectors: one logical partition and a link each.
  Result<void> ReadLogical(std::uint64_t extended) {
    std::uint64_t at = extended;
    for (std::size_t i = 0; i < kLogicalMax && at < sectors_; ++i) {
      Sector sector = {};
      VMFERRY_RETURN_IF_ERROR(disk_.ReadAt(at * kSector, sector));
      if (!HasSignature(sector)) return {};
      const auto entries = Entries(sector);
      MbrEntry logical = entries[0];
      logical.start += at;
      if (logical.type != 0 && Inside(logical.start, logical.length)) {
        Add(fmt::format("msdos{}", i + 5), logical);
      }
      if (!IsExtended(entries[1].type) || entries[1].start == 0) return {};
      at = extended + entries[1].start;
    }
    return {};
  }

  Result<void> ReadGpt() {
    Sector header = {};
    VMFERRY_RETURN_IF_ERROR(disk_.ReadAt(kSector, header));
    if (AsText(std::span(header).first(8)) != "EFI PART") return {};
    ByteReader reader{std::span(header).subspan(72)};
    const std::uint64_t array = reader.U64Le();
    const std::uint32_t count = reader.U32Le();
    const std::uint32_t entry_bytes = reader.U32Le();
    if (count == 0 || count > kGptEntriesMax || entry_bytes < 128 ||
        entry_bytes > kGptEntryBytesMax || entry_bytes % 128 != 0 ||
        !Inside(array, DivCeil(std::uint64_t{count} * entry_bytes, kSector))) {
      return {};
    }
    std::vector<std::byte> entries(std::size_t{count} * entry_bytes);
    VMFERRY_RETURN_IF_ERROR(disk_.ReadAt(array * kSector, entries));
    for (std::uint32_t i = 0; i < count; ++i) {
      AddGpt(i + 1, std::span<const std::byte>(entries).subspan(std::size_t{i} * entry_bytes, 128));
    }
    if (!table_.partitions.empty()) table_.kind = TableKind::kGpt;
    return {};
  }

  void AddGpt(std::uint32_t number, std::span<const std::byte> entry) {
    const std::span<const std::byte> type = entry.first(16);
    const auto is = [&](const Guid& guid) {
      return std::ranges::equal(type, std::as_bytes(std::span(guid)));
    };
    ByteReader reader(entry.subspan(32));
    const std::uint64_t first = reader.U64Le();
    const std::uint64_t last = reader.U64Le();
    if (is(Guid{}) || last < first || !Inside(first, last - first + 1)) return;
    table_.partitions.push_back({.name = fmt::format("gpt{}", number),
                                 .start_bytes = first * kSector,
                                 .length_bytes = (last - first + 1) * kSector,
                                 .efi_system = is(kGptEfiSystem),
                                 .bios_boot = is(kGptBiosBoot),
                                 .lvm = is(kGptLvm)});
  }

  const sys::File& disk_;
  const std::uint64_t sectors_;
  PartitionTable table_;
};

}  // namespace

Result<PartitionTable> ReadPartitions(const sys::File& disk) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t disk_bytes, disk.Size());
  return Reader(disk, disk_bytes).Run();
}

}  // namespace vmferry::region
