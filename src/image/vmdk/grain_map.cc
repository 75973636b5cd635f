// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/grain_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/zero.h"
#include "image/vmdk/damage.h"

namespace vmferry::image::vmdk {
namespace {

/// Directories are read in parts of that size.
constexpr std::size_t kDirectoryPartBytes = 64 * kKiB;
/// Fewer bytes of tables are never a hole between stored bytes: file systems have blocks.
constexpr std::uint64_t kMinHoleBytes = 4 * kKiB;

// seSparse's entries have their kind in the uppermost four bits.
constexpr std::uint64_t kSeKindMask = 0xf000000000000000;
constexpr std::uint64_t kSeUnmapped = 0x1000000000000000;
constexpr std::uint64_t kSeZero = 0x2000000000000000;
constexpr std::uint64_t kSeAllocated = 0x3000000000000000;

std::uint64_t LittleEndian(const std::byte* bytes, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  }
  return value;
}

/// The directory entry as it is kept. Errors: kDataLoss vmdk.grain_directory.entry.
Result<std::uint32_t> DecodeDirectoryEntry(std::uint64_t entry, std::uint64_t index) {
  if (entry == 0) return std::uint32_t{0};
  // seSparse, "grain directory": the uppermost four bits are 1 for a table that is there, the
  // lower 32 bits its number, and all others 0.
  if ((entry >> 32) != (kSeUnmapped >> 32) || (entry & 0xffffffff) >= kMaxDirectoryEntries) {
    return Damage("vmdk.grain_directory.entry",
                  fmt::format("entry {} of the VMDK's grain directory is {:#x}, which is no table",
                              index, entry));
  }
  return static_cast<std::uint32_t>(entry & 0xffffffff) + 1;
}

Result<std::vector<std::uint32_t>> ReadDirectory(const ByteSource& source, const MapPlan& plan) {
  const std::size_t entry_bytes = plan.format == EntryFormat::kSector32 ? 4 : 8;
  const std::uint64_t entries = plan.table_count();
  // VMDK 5.0, "Grain Directory": one entry for each grain table, in whole sectors.
  const std::uint64_t sectors = DivCeil(entries * entry_bytes, kSectorBytes);
  const auto end = CheckedAdd(plan.directory_offset_sectors, sectors);
  if (!end || *end > plan.end_bytes / kSectorBytes ||
      plan.directory_offset_sectors < plan.first_data_sector) {
    return Damage("vmdk.grain_directory.truncated",
                  fmt::format("the VMDK's grain directory at sector {} with {} sectors is not "
                              "inside sectors {} to {} of the file",
                              plan.directory_offset_sectors, sectors, plan.first_data_sector,
                              plan.end_bytes / kSectorBytes));
  }
  std::vector<std::uint32_t> directory;
  directory.reserve(entries);
  std::vector<std::byte> part(std::min<std::uint64_t>(entries * entry_bytes, kDirectoryPartBytes));
  std::uint64_t offset_bytes = plan.directory_offset_sectors * kSectorBytes;
  while (directory.size() < entries) {
    const std::uint64_t count = std::min(part.size() / entry_bytes, entries - directory.size());
    const auto bytes = std::span(part).first(count * entry_bytes);
    VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, bytes));
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t entry = LittleEndian(bytes.data() + i * entry_bytes, entry_bytes);
      if (plan.format == EntryFormat::kSector32) {
        directory.push_back(static_cast<std::uint32_t>(entry));
        continue;
      }
      VMFERRY_ASSIGN_OR_RETURN(const std::uint32_t kept,
                               DecodeDirectoryEntry(entry, directory.size()));
      directory.push_back(kept);
    }
    offset_bytes += bytes.size();
  }
  return directory;
}

}  // namespace

Result<std::unique_ptr<GrainMap>> GrainMap::Open(std::shared_ptr<const ByteSource> source,
                                                 const MapPlan& plan, MapResources& resources) {
  const std::uint64_t entries = plan.table_count();
  if (entries > kMaxDirectoryEntries - resources.directory_entries) {
    return Damage("vmdk.grain_directory.too_large",
                  fmt::format("the VMDK needs grain directories of more than {} entries",
                              kMaxDirectoryEntries));
  }
  VMFERRY_ASSIGN_OR_RETURN(auto directory, ReadDirectory(*source, plan));
  std::unique_ptr<GrainMap> map(new GrainMap(std::move(source), plan, std::move(directory),
                                             resources.cache, resources.blocks));
  VMFERRY_RETURN_IF_ERROR(map->CheckDirectory());
  resources.directory_entries += entries;
  resources.blocks += map->block_count();
  return map;
}

GrainMap::GrainMap(std::shared_ptr<const ByteSource> source, const MapPlan& plan,
                   std::vector<std::uint32_t> directory, std::shared_ptr<GrainCache> cache,
                   std::uint64_t first_block)
    : source_(std::move(source)),
      plan_(plan),
      directory_(std::move(directory)),
      cache_(std::move(cache)),
      first_block_(first_block) {
  VMFERRY_CHECK(kBlockEntries % plan_.entries_per_table == 0);
}

std::uint64_t GrainMap::TableSector(std::uint64_t table_index) const {
  const std::uint64_t entry = directory_[table_index];
  if (plan_.format == EntryFormat::kSector32) return entry;
  return plan_.tables_sector + (entry - 1) * plan_.table_sectors();
}

Result<void> GrainMap::CheckDirectory() const {
  std::vector<std::uint64_t> unsorted;
  std::uint64_t end_so_far = 0;
  bool ascending = true;
  const std::uint64_t end_sector = plan_.end_bytes / kSectorBytes;
  for (std::uint64_t i = 0; i < directory_.size(); ++i) {
    if (directory_[i] == 0) continue;
    const std::uint64_t sector = TableSector(i);
    // VMDK 5.0, "Grain Directory": an entry is the sector of a grain table.
    if (sector < plan_.first_data_sector || sector + plan_.table_sectors() > end_sector) {
      return Damage("vmdk.grain_directory.range",
                    fmt::format("entry {} of the VMDK's grain directory names sector {}, outside "
                                "sectors {} to {} of the file",
                                i, sector, plan_.first_data_sector, end_sector))
          .With("offset_bytes", sector * kSectorBytes);
    }
    if (sector < end_so_far) ascending = false;
    end_so_far = sector + plan_.table_sectors();
  }
  if (ascending) return {};
  for (std::uint64_t i = 0; i < directory_.size(); ++i) {
    if (directory_[i] != 0) unsorted.push_back(TableSector(i));
  }
  std::sort(unsorted.begin(), unsorted.end());
  for (std::size_t i = 1; i < unsorted.size(); ++i) {
    if (unsorted[i] - unsorted[i - 1] >= plan_.table_sectors()) continue;
    return Damage("vmdk.grain_directory.overlap",
                  fmt::format("two grain tables of the VMDK overlap at sector {}", unsorted[i]))
        .With("offset_bytes", unsorted[i] * kSectorBytes);
  }
  return {};
}

bool GrainMap::IsMissing(std::uint64_t block_index) const {
  const std::uint64_t tables_per_block = kBlockEntries / plan_.entries_per_table;
  const std::uint64_t first = block_index * tables_per_block;
  const std::uint64_t end = std::min<std::uint64_t>(first + tables_per_block, directory_.size());
  for (std::uint64_t i = first; i < end; ++i) {
    if (directory_[i] != 0) return false;
  }
  return true;
}

std::uint64_t GrainMap::TablesTogether(std::uint64_t table_index, std::uint64_t limit) const {
  std::uint64_t count = 1;
  const std::uint64_t first_sector = TableSector(table_index);
  while (count < limit && directory_[table_index + count] != 0 &&
         TableSector(table_index + count) == first_sector + count * plan_.table_sectors()) {
    ++count;
  }
  return count;
}

Result<bool> GrainMap::IsFileHole(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
  const auto covers = [&](const sys::FileRun& run) {
    return run.hole && offset_bytes >= run.offset_bytes &&
           offset_bytes - run.offset_bytes + length_bytes <= run.length_bytes;
  };
  {
    MutexLock lock(mutex_);
    if (covers(hole_)) return true;
  }
  if (length_bytes < kMinHoleBytes) return false;
  VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source_->RunAt(offset_bytes));
  if (!run.hole) return false;
  MutexLock lock(mutex_);
  hole_ = run;
  return covers(run);
}

Result<GrainBlock> GrainMap::Load(std::uint64_t block_index, std::uint64_t& read_bytes) const {
  const std::uint64_t tables_per_block = kBlockEntries / plan_.entries_per_table;
  const std::uint64_t first = block_index * tables_per_block;
  const std::uint64_t count = std::min<std::uint64_t>(tables_per_block, directory_.size() - first);
  GrainBlock block;
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < count;) {
    if (directory_[first + i] == 0) {
      ++i;
      continue;
    }
    const std::uint64_t together = TablesTogether(first + i, count - i);
    const std::uint64_t offset_bytes = TableSector(first + i) * kSectorBytes;
    const std::uint64_t first_entry = i * plan_.entries_per_table;
    i += together;
    VMFERRY_ASSIGN_OR_RETURN(const bool hole,
                             IsFileHole(offset_bytes, together * plan_.table_bytes()));
    if (hole) continue;  // zeros: nothing was ever allocated
    bytes.resize(together * plan_.table_bytes());
    VMFERRY_RETURN_IF_ERROR(source_->ReadAt(offset_bytes, std::span(bytes)));
    read_bytes += bytes.size();
    if (codec::IsZero(bytes)) continue;
    if (block.sectors.empty()) block.sectors.resize(kBlockEntries);
    VMFERRY_RETURN_IF_ERROR(
        Decode(bytes, block_index * kBlockEntries + first_entry,
               std::span(block.sectors).subspan(first_entry, together * plan_.entries_per_table)));
  }
  return block;
}

Result<void> GrainMap::Decode(std::span<const std::byte> tables, std::uint64_t first_grain,
                              std::span<std::uint64_t> sectors) const {
  const std::size_t entry_bytes = plan_.format == EntryFormat::kSector32 ? 4 : 8;
  VMFERRY_CHECK(tables.size() == sectors.size() * entry_bytes);
  // Entries behind the end of the disk belong to nothing.
  const std::uint64_t count =
      std::min<std::uint64_t>(sectors.size(), plan_.grain_count() - first_grain);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t entry = LittleEndian(tables.data() + i * entry_bytes, entry_bytes);
    if (entry == 0) continue;
    VMFERRY_ASSIGN_OR_RETURN(sectors[i], DecodeEntry(entry, first_grain + i));
  }
  return {};
}

Result<std::uint64_t> GrainMap::DecodeEntry(std::uint64_t entry, std::uint64_t grain_index) const {
  std::uint64_t sector = entry;
  if (plan_.format == EntryFormat::kSector32) {
    // VMDK 5.0, "Grain Table": 0 is a grain never allocated, 1 a zeroed grain, all others the
    // sector where the grain is.
    if (entry == 1 && plan_.one_is_zero) return GrainBlock::kZero;
  } else {
    // seSparse, "grain table": the uppermost four bits say what the grain is; unmapped by the guest
    // or zeroed, it reads as zeros. The number of a grain comes in two parts, the lower 12 bits
    // of it in front of the upper 48.
    const std::uint64_t kind = entry & kSeKindMask;
    if (kind == kSeUnmapped || kind == kSeZero) return GrainBlock::kZero;
    if (kind != kSeAllocated) {
      return Damage("vmdk.grain_table.entry",
                    fmt::format("the grain table entry of grain {} of the VMDK is {:#x}, which has "
                                "no meaning",
                                grain_index, entry));
    }
    const std::uint64_t number =
        ((entry & 0x0fff000000000000) >> 48) | ((entry & 0x0000ffffffffffff) << 12);
    const auto distance = CheckedMul(number, plan_.grain_sectors);
    // Never a sector of the file when it overflows.
    sector = CheckedAdd(plan_.grains_sector, distance.value_or(~std::uint64_t{0}))
                 .value_or(~std::uint64_t{0});
  }
  VMFERRY_RETURN_IF_ERROR(CheckGrain(sector, grain_index));
  return sector;
}

Result<void> GrainMap::CheckGrain(std::uint64_t sector, std::uint64_t grain_index) const {
  const std::uint64_t end_sector = DivCeil(plan_.end_bytes, kSectorBytes);
  if (sector < plan_.first_data_sector || sector >= end_sector) {
    return Damage("vmdk.grain_table.range",
                  fmt::format("the grain table entry of grain {} of the VMDK names sector {}, "
                              "outside sectors {} to {} of the file",
                              grain_index, sector, plan_.first_data_sector, end_sector))
        .With("grain", grain_index);
  }
  if (plan_.compressed) return {};  // its marker tells its length
  // The last grain may stop where the disk does.
  const std::uint64_t used_bytes =
      std::min(plan_.grain_sectors, plan_.capacity_sectors - grain_index * plan_.grain_sectors) *
      kSectorBytes;
  if (used_bytes > plan_.end_bytes - std::min(sector * kSectorBytes, plan_.end_bytes)) {
    return Damage("vmdk.grain.truncated",
                  fmt::format("grain {} of the VMDK, at byte {} of the file, reaches past the end "
                              "of the file of {} bytes",
                              grain_index, sector * kSectorBytes, plan_.end_bytes))
        .With("offset_bytes", sector * kSectorBytes)
        .With("grain", grain_index);
  }
  return {};
}

Result<std::shared_ptr<const GrainBlock>> GrainMap::BlockOf(std::uint64_t grain_index) const {
  const std::uint64_t block_index = grain_index / kBlockEntries;
  return cache_->Get(first_block_ + block_index, [&](std::uint64_t) {
    std::uint64_t read_bytes = 0;
    return Load(block_index, read_bytes);
  });
}

namespace {

RunKind KindOf(std::uint64_t sector) {
  if (sector == GrainBlock::kAbsent) return RunKind::kAbsent;
  return sector == GrainBlock::kZero ? RunKind::kZero : RunKind::kData;
}

}  // namespace

Result<LayerRun> GrainMap::RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes,
                                 Joining joining) const {
  const std::uint64_t grain_bytes = plan_.grain_bytes();
  const std::uint64_t end_bytes = offset_bytes + limit_bytes;
  LayerRun run = {.offset_bytes = offset_bytes};
  std::uint64_t at = offset_bytes;
  std::uint64_t expected_sector = 0;
  while (at < end_bytes) {
    std::uint64_t grain = at / grain_bytes;
    const std::uint64_t block_index = grain / kBlockEntries;
    const std::uint64_t block_end_bytes =
        std::min((block_index + 1) * kBlockEntries * grain_bytes, end_bytes);
    std::shared_ptr<const GrainBlock> block;
    if (!IsMissing(block_index)) {
      VMFERRY_ASSIGN_OR_RETURN(block, BlockOf(grain));
    }
    if (block == nullptr || block->sectors.empty()) {
      if (at > offset_bytes && run.kind != RunKind::kAbsent) return run;
      at = block_end_bytes;
      run.length_bytes = at - offset_bytes;
      continue;
    }
    for (; at < block_end_bytes; ++grain) {
      const std::uint64_t sector = block->sectors[grain % kBlockEntries];
      if (at == offset_bytes) {
        run.kind = KindOf(sector);
        run.locator = sector * kSectorBytes;
        if (!plan_.compressed) run.locator += offset_bytes % grain_bytes;
      } else if (KindOf(sector) != run.kind ||
                 (run.kind == RunKind::kData && joining == Joining::kAdjacent &&
                  sector != expected_sector)) {
        return run;
      }
      expected_sector = sector + plan_.grain_sectors;
      at = std::min((grain + 1) * grain_bytes, block_end_bytes);
      run.length_bytes = at - offset_bytes;
    }
    // A block of data is long enough.
    if (run.kind == RunKind::kData) return run;
  }
  return run;
}

Result<MapSurvey> GrainMap::Survey(std::uint64_t limit_bytes) const {
  MapSurvey survey;
  std::uint64_t read_bytes = 0;
  for (std::uint64_t index = 0; index < block_count(); ++index) {
    if (IsMissing(index)) continue;
    if (read_bytes > limit_bytes) return survey;
    VMFERRY_ASSIGN_OR_RETURN(const GrainBlock block, Load(index, read_bytes));
    for (std::size_t i = 0; i < block.sectors.size(); ++i) {
      const std::uint64_t sector = block.sectors[i];
      if (KindOf(sector) != RunKind::kData) continue;
      const std::uint64_t grain = index * kBlockEntries + i;
      survey.allocated_bytes +=
          std::min(plan_.grain_sectors, plan_.capacity_sectors - grain * plan_.grain_sectors) *
          kSectorBytes;
      if (sector <= survey.last_sector) continue;
      survey.last_sector = sector;
      survey.last_grain = grain;
    }
  }
  survey.complete = true;
  return survey;
}

bool GrainMap::SameAsCopy(std::uint64_t directory_offset_sectors, std::uint64_t limit_bytes) const {
  MapPlan plan = plan_;
  plan.directory_offset_sectors = directory_offset_sectors;
  MapResources resources = {.cache = cache_};
  const auto copy = Open(source_, plan, resources);
  if (!copy) return false;
  std::uint64_t read_bytes = 0;
  for (std::uint64_t index = 0; index < block_count() && read_bytes <= limit_bytes; ++index) {
    if (IsMissing(index) && (*copy)->IsMissing(index)) continue;
    const auto ours = Load(index, read_bytes);
    const auto theirs = (*copy)->Load(index, read_bytes);
    if (!ours || !theirs || ours->sectors != theirs->sectors) return false;
  }
  return true;
}

}  // namespace vmferry::image::vmdk
