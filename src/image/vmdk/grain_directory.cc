// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/grain_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vmdk/damage.h"

namespace vmferry::image::vmdk {

Result<std::unique_ptr<GrainTables>> GrainTables::Open(const ByteSource& source,
                                                       const Header& header,
                                                       const FileLayout& layout) {
  const std::uint64_t entries = header.table_count();
  if (entries > kMaxDirectoryEntries) {
    return Damage("vmdk.grain_directory.too_large",
                  fmt::format("the VMDK needs a grain directory of {} entries; {} are the limit",
                              entries, kMaxDirectoryEntries));
  }
  // VMDK 5.0, "Grain Directory": one 32-bit entry for each grain table, in whole sectors.
  const std::uint64_t sectors = DivCeil(entries * 4, kSectorBytes);
  const auto end = CheckedAdd(header.directory_offset_sectors, sectors);
  if (!end || *end > layout.end_sector ||
      header.directory_offset_sectors < layout.first_data_sector) {
    return Damage(
        "vmdk.grain_directory.truncated",
        fmt::format("the VMDK's grain directory at sector {} with {} sectors is not inside "
                    "sectors {} to {} of the file",
                    header.directory_offset_sectors, sectors, layout.first_data_sector,
                    layout.end_sector));
  }
  std::vector<std::byte> bytes(entries * 4);
  VMFERRY_RETURN_IF_ERROR(
      source.ReadAt(header.directory_offset_sectors * kSectorBytes, std::span(bytes)));
  ByteReader reader(bytes);
  std::vector<std::uint32_t> directory(entries);
  for (std::uint32_t& entry : directory) entry = reader.U32Le();
  std::unique_ptr<GrainTables> tables(
      new GrainTables(source, header, layout, std::move(directory)));
  VMFERRY_RETURN_IF_ERROR(tables->CheckDirectory());
  return tables;
}

GrainTables::GrainTables(const ByteSource& source, const Header& header, const FileLayout& layout,
                         std::vector<std::uint32_t> directory)
    : source_(source),
      zero_grains_((header.flags & kFlagZeroGrains) != 0),
      layout_(layout),
      directory_(std::move(directory)) {}

Result<void> GrainTables::CheckDirectory() const {
  std::vector<std::uint32_t> sorted;
  for (std::size_t i = 0; i < directory_.size(); ++i) {
    if (directory_[i] == 0) continue;
    // VMDK 5.0, "Grain Directory": an entry is the sector of a grain table of four sectors.
    if (directory_[i] < layout_.first_data_sector ||
        directory_[i] + kTableSectors > layout_.end_sector) {
      return Damage("vmdk.grain_directory.range",
                    fmt::format("entry {} of the VMDK's grain directory names sector {}, outside "
                                "sectors {} to {} of the file",
                                i, directory_[i], layout_.first_data_sector, layout_.end_sector))
          .With("offset_bytes", std::uint64_t{directory_[i]} * kSectorBytes);
    }
    sorted.push_back(directory_[i]);
  }
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i] - sorted[i - 1] >= kTableSectors) continue;
    return Damage("vmdk.grain_directory.overlap",
                  fmt::format("two grain tables of the VMDK overlap at sector {}", sorted[i]))
        .With("offset_bytes", std::uint64_t{sorted[i]} * kSectorBytes);
  }
  return {};
}

Result<GrainTable> GrainTables::ReadTable(std::uint64_t table_index) const {
  std::array<std::byte, kTableBytes> bytes;
  const std::uint64_t offset_bytes = std::uint64_t{directory_[table_index]} * kSectorBytes;
  VMFERRY_RETURN_IF_ERROR(source_.ReadAt(offset_bytes, bytes));
  ByteReader reader(bytes);
  GrainTable table;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::uint32_t entry = reader.U32Le();
    table[i] = entry;
    // VMDK 5.0, "Grain Table": 0 is a grain never allocated, 1 a zeroed grain, all others the
    // sector where the grain is.
    if (entry == 0 || (entry == 1 && zero_grains_)) continue;
    if (entry >= layout_.first_data_sector && entry < layout_.end_sector) continue;
    return Damage("vmdk.grain_table.range",
                  fmt::format("entry {} of the VMDK's grain table {} names sector {}, outside "
                              "sectors {} to {} of the file",
                              i, table_index, entry, layout_.first_data_sector, layout_.end_sector))
        .With("offset_bytes", offset_bytes + i * 4);
  }
  return table;
}

Result<std::shared_ptr<const GrainTable>> GrainTables::Table(std::uint64_t table_index) const {
  Slot fresh = {.table_index = table_index};
  {
    MutexLock lock(mutex_);
    const Slot& slot = cache_[table_index % kCacheSlots];
    if (slot.table_index == table_index) return slot.table;
  }
  VMFERRY_ASSIGN_OR_RETURN(const GrainTable table, ReadTable(table_index));
  fresh.table = std::make_shared<const GrainTable>(table);
  auto result = fresh.table;
  {
    MutexLock lock(mutex_);
    std::swap(cache_[table_index % kCacheSlots], fresh);
  }
  return result;  // what was in the slot goes with `fresh`, outside the lock
}

}  // namespace vmferry::image::vmdk
