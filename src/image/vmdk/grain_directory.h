// SPDX-License-Identifier: Apache-2.0
//
// Grain directory and grain tables: where in the file each grain is.
//
// The directory (one entry for 512 grains) is kept in memory, bounded; tables are read when needed
// and kept in a small cache.
//
// Specification: VMware "Virtual Disk Format 5.0", sections "Grain Directory" and "Grain Table".
// Thread safety: GrainTables may be used from any thread.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "image/byte_source.h"
#include "image/vmdk/header.h"

namespace vmferry::image::vmdk {

/// 8 MiB of memory: 64 TiB of guest bytes with grains of 64 KiB, 4 TiB with the smallest grains.
inline constexpr std::uint64_t kMaxDirectoryEntries = 2U << 20;
inline constexpr std::uint64_t kTableBytes = kEntriesPerTable * 4;
inline constexpr std::uint64_t kTableSectors = kTableBytes / kSectorBytes;

/// Sectors of the file that hold grains; everything else is a structure. Half-open.
struct FileLayout {
  std::uint64_t first_data_sector = 0;  ///< behind header and descriptor
  std::uint64_t end_sector = 0;         ///< end of the file, or its footer
};

/// Entries of one table: 0 never allocated, 1 zero when the header says so, else a sector of the
/// file. Every entry is inside the layout.
using GrainTable = std::array<std::uint32_t, kEntriesPerTable>;

class GrainTables {
 public:
  /// Reads and checks the directory at `header.directory_offset_sectors`.
  ///
  /// `source` must live longer than this object.
  /// Errors: kDataLoss vmdk.grain_directory.too_large, .truncated, .range, .overlap.
  static Result<std::unique_ptr<GrainTables>> Open(const ByteSource& source, const Header& header,
                                                   const FileLayout& layout);

  std::uint64_t table_count() const { return directory_.size(); }
  /// True when the directory has no such table: all its grains are holes.
  bool IsHole(std::uint64_t table_index) const { return directory_[table_index] == 0; }

  /// The table, from the cache or read and checked now; its directory entry is not a hole.
  ///
  /// Shared because the cache may drop it while the caller still uses it.
  /// Errors: kDataLoss vmdk.grain_table.range; those of the source.
  Result<std::shared_ptr<const GrainTable>> Table(std::uint64_t table_index) const;

 private:
  /// 256 tables of 2 KiB: half a mebibyte, a window of 8 GiB with grains of 64 KiB.
  static constexpr std::size_t kCacheSlots = 256;
  struct Slot {
    std::uint64_t table_index = ~std::uint64_t{0};
    std::shared_ptr<const GrainTable> table;
  };

  GrainTables(const ByteSource& source, const Header& header, const FileLayout& layout,
              std::vector<std::uint32_t> directory);
  Result<void> CheckDirectory() const;
  Result<GrainTable> ReadTable(std::uint64_t table_index) const;

  const ByteSource& source_;
  const bool zero_grains_;
  const FileLayout layout_;
  const std::vector<std::uint32_t> directory_;
  mutable Mutex mutex_;  // leaf: nothing is read or allocated under it
  mutable std::array<Slot, kCacheSlots> cache_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::image::vmdk
