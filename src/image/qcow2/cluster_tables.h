// SPDX-License-Identifier: Apache-2.0
//
// ClusterTables: the two levels of tables that map guest clusters to places in the file. The L1
// table is held in memory; L2 tables, which are as large as a cluster, are read in slices and kept
// in a bounded cache.
//
// Thread safety: const methods may be called from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/qcow2/header.h"
#include "image/table_cache.h"

namespace vmferry::image::qcow2 {

/// Largest part of an L2 table that is read at once.
inline constexpr std::uint64_t kMaxSliceBytes = 64 * kKiB;

/// A part of an L2 table, in host order; an entry is one word, or with extended L2 entries two.
using L2Slice = std::vector<std::uint64_t>;

class ClusterTables {
 public:
  /// Reads and checks the L1 table. `source` must live longer.
  ///
  /// Cost:   8 bytes for each L1 entry of the disk, at most 32 MiB.
  /// Errors: kDataLoss qcow2.l1.range (the table itself, or an entry, lies outside the file),
  ///         qcow2.l1.alignment, qcow2.l1.overlap; those of the source.
  static Result<std::unique_ptr<ClusterTables>> Load(const ByteSource& source,
                                                     const Header& header);

  /// L1 entries that the disk needs.
  std::uint64_t table_count() const { return tables_.size(); }
  /// True when the disk has no L2 table there: 2^n clusters that are all absent.
  bool IsAbsent(std::uint64_t table_index) const { return tables_[table_index] == 0; }
  /// L2 tables that are there.
  std::uint64_t present_count() const { return present_count_; }
  /// L1 entries with bits set that the specification reserves.
  std::uint64_t reserved_count() const { return reserved_count_; }

  /// Clusters that one slice maps.
  std::uint64_t slice_entries() const { return slice_entries_; }
  std::uint64_t slices_per_table() const { return slices_per_table_; }

  /// The slice that maps the cluster `cluster_index`. Pre: its table is not absent.
  /// Errors: those of the source.
  Result<std::shared_ptr<const L2Slice>> SliceOf(std::uint64_t cluster_index) const;

 private:
  ClusterTables(const ByteSource& source, const Header& header);

  Result<void> CheckEntries(std::uint64_t file_bytes) const;
  Result<void> CheckPlaces() const;

  const ByteSource& source_;
  const Header header_;
  const std::uint64_t slice_bytes_;
  const std::uint64_t slice_entries_;
  const std::uint64_t slices_per_table_;
  std::vector<std::uint64_t> tables_;  ///< offset of each L2 table; 0 for none
  std::uint64_t present_count_ = 0;
  std::uint64_t reserved_count_ = 0;
  const TableCache<L2Slice> slices_;
};

}  // namespace vmferry::image::qcow2
