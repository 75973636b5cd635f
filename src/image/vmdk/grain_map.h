// SPDX-License-Identifier: Apache-2.0
//
// GrainMap: grain directory and grain tables of one sparse extent: where in the file each grain is.
//
// Hosted sparse, stream-optimised, COWD and seSparse extents differ in the size of their tables
// and in what an entry looks like; what they share is here. The directory (one entry for 512 or
// 4,096 grains) is kept in memory, bounded; tables are read in blocks of neighbours when needed
// and kept in a cache that all extents of a disk share.
//
// Specification: VMware "Virtual Disk Format 5.0", sections "Grain Directory" and "Grain Table".
// Thread safety: const methods may run concurrently.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "base/units.h"
#include "image/byte_source.h"
#include "image/layer.h"
#include "image/table_cache.h"

namespace vmferry::image::vmdk {

/// Of one disk, all its extents together: 16 MiB of memory, 64 TiB of seSparse's grain tables or
/// 128 TiB of hosted sparse ones with grains of 64 KiB.
inline constexpr std::uint64_t kMaxDirectoryEntries = 4U << 20;

/// Tables are read and cached in blocks of that many entries: 1 GiB with grains of 64 KiB.
inline constexpr std::uint64_t kBlockEntries = 16384;

/// Entries of neighbouring grain tables in host order: 0 never allocated, 1 zero, else the sector
/// of the file where the grain is, which lies inside the plan's bounds.
struct GrainBlock {
  static constexpr std::uint64_t kAbsent = 0;
  static constexpr std::uint64_t kZero = 1;

  std::vector<std::uint64_t> sectors;  ///< kBlockEntries, or none when all are absent
};

/// 32 blocks of 128 KiB: 4 MiB, a window of 32 GiB with grains of 64 KiB.
inline constexpr std::size_t kCachedBlocks = 32;
using GrainCache = TableCache<GrainBlock>;

/// What the extents of one disk share.
struct MapResources {
  std::shared_ptr<GrainCache> cache = std::make_shared<GrainCache>(kCachedBlocks);
  std::uint64_t blocks = 0;             ///< of the extents so far: where the next one's begin
  std::uint64_t directory_entries = 0;  ///< in memory so far
};

enum class EntryFormat {
  kSector32,  ///< hosted sparse, stream-optimised and COWD: a sector in 32 bits
  kSeSparse,  ///< a kind and the number of a grain in 64 bits
};

/// The geometry of one extent's map, taken from a header that was checked.
struct MapPlan {
  std::uint64_t capacity_sectors = 0;
  std::uint64_t grain_sectors = 0;      ///< a power of two
  std::uint64_t entries_per_table = 0;  ///< divides kBlockEntries
  EntryFormat format = EntryFormat::kSector32;
  std::uint64_t directory_offset_sectors = 0;
  /// Where structures and grains may be: behind the header, before the end of the file or its
  /// footer.
  std::uint64_t first_data_sector = 0;
  std::uint64_t end_bytes = 0;
  bool one_is_zero = false;         ///< kSector32: an entry of 1 is a zeroed grain
  bool compressed = false;          ///< grains take what they take; their markers tell
  std::uint64_t tables_sector = 0;  ///< kSeSparse: where tables begin
  std::uint64_t grains_sector = 0;  ///< kSeSparse: where grains begin

  std::uint64_t grain_bytes() const { return grain_sectors * kSectorBytes; }
  std::uint64_t grain_count() const { return DivCeil(capacity_sectors, grain_sectors); }
  std::uint64_t table_count() const { return DivCeil(grain_count(), entries_per_table); }
  std::uint64_t table_bytes() const {
    return entries_per_table * (format == EntryFormat::kSector32 ? 4 : 8);
  }
  std::uint64_t table_sectors() const { return DivCeil(table_bytes(), kSectorBytes); }
};

/// What a walk over all tables found out.
struct MapSurvey {
  /// Tables were too many to look at all of them: the other fields are not known.
  bool complete = false;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t last_sector = 0;  ///< of the grain furthest back in the file; 0 without grains
  std::uint64_t last_grain = 0;
};

class GrainMap {
 public:
  /// How RunAt joins grains with data.
  enum class Joining {
    kAdjacent,  ///< only while they lie side by side in the file
    kAny,
  };

  /// Reads and checks the directory at `plan.directory_offset_sectors`.
  ///
  /// Errors: kDataLoss vmdk.grain_directory.too_large, .truncated, .range, .entry, .overlap; those
  ///         of the source.
  static Result<std::unique_ptr<GrainMap>> Open(std::shared_ptr<const ByteSource> source,
                                                const MapPlan& plan, MapResources& resources);

  const MapPlan& plan() const { return plan_; }
  const ByteSource& source() const { return *source_; }

  /// As Layer::RunAt; the locator of a data run is the byte of the file where it begins, or where
  /// its first grain does when grains are compressed.
  ///
  /// Errors: kDataLoss vmdk.grain_table.range, .entry, vmdk.grain.truncated; those of the source.
  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes,
                         Joining joining) const;

  /// The block that holds `grain_index`, at grain_index % kBlockEntries. Errors: as RunAt.
  Result<std::shared_ptr<const GrainBlock>> BlockOf(std::uint64_t grain_index) const;

  /// Walks the tables, at most `limit_bytes` of them (those in holes of the file not counted).
  /// Errors: as RunAt.
  Result<MapSurvey> Survey(std::uint64_t limit_bytes) const;

  /// True when the copy of the map whose directory is at `directory_offset_sectors` says the
  /// same, as far as `limit_bytes` of tables; false also when the copy cannot be read.
  bool SameAsCopy(std::uint64_t directory_offset_sectors, std::uint64_t limit_bytes) const;

 private:
  GrainMap(std::shared_ptr<const ByteSource> source, const MapPlan& plan,
           std::vector<std::uint32_t> directory, std::shared_ptr<GrainCache> cache,
           std::uint64_t first_block);

  Result<void> CheckDirectory() const;
  std::uint64_t block_count() const { return DivCeil(plan_.grain_count(), kBlockEntries); }
  std::uint64_t TableSector(std::uint64_t table_index) const;
  /// True when the directory has none of the tables of that block.
  bool IsMissing(std::uint64_t block_index) const;
  /// How many tables from `table_index` on lie side by side in the file, at most `limit`.
  std::uint64_t TablesTogether(std::uint64_t table_index, std::uint64_t limit) const;
  /// Reads and checks a block; adds the bytes of tables that it read to `read_bytes`.
  Result<GrainBlock> Load(std::uint64_t block_index, std::uint64_t& read_bytes) const;
  Result<void> Decode(std::span<const std::byte> tables, std::uint64_t first_grain,
                      std::span<std::uint64_t> sectors) const;
  Result<std::uint64_t> DecodeEntry(std::uint64_t entry, std::uint64_t grain_index) const;
  Result<void> CheckGrain(std::uint64_t sector, std::uint64_t grain_index) const;
  /// True when the file has a hole there.
  Result<bool> IsFileHole(std::uint64_t offset_bytes, std::uint64_t length_bytes) const;

  const std::shared_ptr<const ByteSource> source_;
  const MapPlan plan_;
  /// Of each table: kSector32: its sector; kSeSparse: its number and 1; 0 for none.
  const std::vector<std::uint32_t> directory_;
  const std::shared_ptr<GrainCache> cache_;
  const std::uint64_t first_block_;
  /// Where most tables of a sparse file are: asked for once, not for each block.
  mutable Mutex mutex_;  // leaf: nothing is read or allocated under it
  mutable sys::FileRun hole_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::image::vmdk
