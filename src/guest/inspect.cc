// SPDX-License-Identifier: Apache-2.0
#include "guest/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/units.h"
#include "guest/boot_loader.h"
#include "guest/disk_reader.h"
#include "guest/fat.h"
#include "guest/fields.h"
#include "guest/file_system.h"
#include "guest/gpt.h"
#include "guest/mbr.h"
#include "guest/partition_types.h"

namespace vmferry::guest {
namespace {

/// Partitions whose content is looked at: more than any machine has, fewer than a GPT may list.
constexpr std::size_t kMaxProbed = 64;

/// Boot sectors of file systems end like an MBR; their code may look like a table by chance, but
/// not like one whose partitions lie on the disk.
bool IsVolumeBootSector(std::span<const std::byte> sector, const MbrTable& mbr,
                        std::uint64_t size_bytes) {
  if (!Says(sector, 3, "NTFS    ") && !Says(sector, 3, "EXFAT   ") && !ParseFat(sector)) {
    return false;
  }
  return std::any_of(mbr.entries.begin(), mbr.entries.end(), [&](const MbrEntry& entry) {
    const std::uint64_t end_sectors = std::uint64_t{entry.start_sectors} + entry.count_sectors;
    return !entry.empty() &&
           (entry.start_sectors == 0 || end_sectors > DivCeil(size_bytes, kSectorBytes));
  });
}

/// Remarks on the MBR beside a GPT.
void JoinMbr(const std::optional<MbrTable>& mbr, GuestLayout& layout) {
  if (!mbr || !mbr->HasProtective()) {
    layout.defects.push_back(
        "the GPT has no protective MBR: firmware and systems may not look at it");
    return;
  }
  std::uint32_t index = 0;
  for (const MbrEntry& entry : mbr->entries) {
    ++index;
    if (entry.empty() || entry.type == kMbrProtective) continue;
    layout.table = TableKind::kHybrid;
    layout.findings.push_back(fmt::format(
        "the MBR lists a partition beside the GPT: entry {}, type 0x{:02x}, sectors {} to {}{}",
        index, entry.type, entry.start_sectors,
        std::uint64_t{entry.start_sectors} + entry.count_sectors - 1,
        entry.status == 0x80 ? ", active" : ""));
  }
}

/// Fills table, table_id, sector_bytes and partitions.
Result<void> ReadTable(DiskReader& disk, const std::optional<MbrTable>& mbr, GuestLayout& layout) {
  std::vector<std::string> gpt_defects;
  VMFERRY_ASSIGN_OR_RETURN(auto gpt, ReadGpt(disk, gpt_defects));
  // An MBR with partitions and none that protects a GPT: what lies behind it is a remnant. So is
  // the copy at the end of a disk that begins with neither.
  const bool plain_mbr = mbr && !mbr->HasProtective();
  if (!mbr && gpt && gpt->from_copy) {
    layout.findings.emplace_back(
        "there are remains of a GPT at the end of the disk, and nothing at its beginning says so");
    return {};
  }
  if (plain_mbr || (mbr && !gpt)) {
    layout.table = TableKind::kMbr;
    layout.table_id = fmt::format("{:08x}", mbr->signature);
    if (gpt) layout.findings.emplace_back("there are remains of a GPT, which the MBR overrules");
    if (!plain_mbr) {
      std::move(gpt_defects.begin(), gpt_defects.end(), std::back_inserter(layout.defects));
      layout.defects.emplace_back("the MBR says that there is a GPT, but none can be read");
    }
    VMFERRY_ASSIGN_OR_RETURN(layout.partitions, ReadMbrPartitions(disk, *mbr, layout.defects));
    return {};
  }
  std::move(gpt_defects.begin(), gpt_defects.end(), std::back_inserter(layout.defects));
  if (!gpt) return {};
  layout.table = TableKind::kGpt;
  layout.table_id = gpt->disk_guid;
  layout.sector_bytes = gpt->sector_bytes;
  layout.partitions = std::move(gpt->partitions);
  JoinMbr(mbr, layout);
  return {};
}

/// Partitions that leave the disk or share bytes.
void CheckPartitions(std::uint64_t size_bytes, GuestLayout& layout) {
  std::vector<const Partition*> order;
  for (const Partition& partition : layout.partitions) {
    const std::uint64_t end_bytes = partition.offset_bytes + partition.length_bytes;
    if (end_bytes > size_bytes && partition.type != "0xee") {
      layout.defects.push_back(
          fmt::format("partition {} reaches to byte {}, past the end of the disk at {}",
                      partition.index, end_bytes, size_bytes));
    }
    if (!partition.extended && partition.length_bytes > 0) order.push_back(&partition);
  }
  std::sort(order.begin(), order.end(), [](const Partition* a, const Partition* b) {
    return a->offset_bytes < b->offset_bytes;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Partition& before = *order[i - 1];
    if (before.offset_bytes + before.length_bytes <= order[i]->offset_bytes) continue;
    layout.defects.push_back(
        fmt::format("partitions {} and {} overlap", before.index, order[i]->index));
  }
}

Result<void> ProbePartitions(DiskReader& disk, GuestLayout& layout) {
  std::size_t probed = 0;
  for (Partition& partition : layout.partitions) {
    if (partition.extended || partition.length_bytes == 0 || partition.type == "0xee") continue;
    if (++probed > kMaxProbed) {
      layout.findings.push_back(
          fmt::format("only the first {} partitions are looked into", kMaxProbed));
      return {};
    }
    VMFERRY_ASSIGN_OR_RETURN(partition.file_system,
                             ProbeFileSystem(disk, partition.offset_bytes, partition.length_bytes));
  }
  return {};
}

}  // namespace

std::string_view TableKindName(TableKind kind) {
  switch (kind) {
    case TableKind::kNone:
      return "none";
    case TableKind::kMbr:
      return "mbr";
    case TableKind::kGpt:
      return "gpt";
    case TableKind::kHybrid:
      return "hybrid";
  }
  return "";
}

std::string_view FirmwareName(const Firmware& firmware) {
  if (firmware.bios) return firmware.uefi() ? "BIOS and UEFI" : "BIOS";
  return firmware.uefi() ? "UEFI" : "neither";
}

Result<GuestLayout> InspectGuest(const image::DiskImage& image) {
  DiskReader disk(image);
  GuestLayout layout;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes sector, disk.Read(0, kSectorBytes));
  std::optional<MbrTable> mbr = ParseMbr(sector);
  if (mbr && IsVolumeBootSector(sector, *mbr, disk.SizeBytes())) mbr.reset();
  VMFERRY_RETURN_IF_ERROR(ReadTable(disk, mbr, layout));
  if (layout.table == TableKind::kNone) {
    VMFERRY_ASSIGN_OR_RETURN(layout.whole_disk, ProbeFileSystem(disk, 0, disk.SizeBytes()));
  }
  CheckPartitions(disk.SizeBytes(), layout);
  // Loaders first: they are few, and matter most when the reads run out.
  VMFERRY_RETURN_IF_ERROR(FindBootLoaders(disk, sector, layout));
  VMFERRY_RETURN_IF_ERROR(ProbePartitions(disk, layout));
  if (disk.exhausted()) {
    layout.findings.emplace_back("the disk has more structures than are looked at: this is a part");
  }
  return layout;
}

}  // namespace vmferry::guest
