// SPDX-License-Identifier: Apache-2.0
//
// Qcow2Layer: the guest bytes that one QCOW2 file holds itself, without its backing file.
//
// Thread safety: const methods may be called from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "image/byte_source.h"
#include "image/layer.h"
#include "image/qcow2/cluster.h"
#include "image/qcow2/cluster_tables.h"
#include "image/qcow2/compressed_reader.h"
#include "image/qcow2/header.h"

namespace vmferry::image::qcow2 {

/// Errors of its methods: kDataLoss qcow2.l2.entry, qcow2.l2.alignment, qcow2.cluster.truncated,
/// qcow2.cluster.inflate, qcow2.cluster.length; those of the source.
class Qcow2Layer final : public Layer {
 public:
  /// `data`: the external data file; nullptr when the clusters lie in `source`.
  /// Pre: `tables` were loaded from `*source`.
  Qcow2Layer(std::unique_ptr<ByteSource> source, std::unique_ptr<ByteSource> data,
             const Header& header, std::unique_ptr<ClusterTables> tables);

  std::uint64_t SizeBytes() const override { return header_.size_bytes; }
  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override;
  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override;

  /// Walks over all tables; the guest bytes that are stored. Errors: as RunAt.
  Result<std::uint64_t> CountAllocated() const;

 private:
  enum class Fault { kNone, kEntry, kAlignment, kTruncated };

  /// A cluster, or a subcluster, from some byte of it on.
  struct Unit {
    ClusterKind kind = ClusterKind::kAbsent;
    Fault fault = Fault::kNone;
    std::uint64_t end_bytes = 0;    ///< of the guest
    std::uint64_t place_bytes = 0;  ///< of a plain one: in the file
  };

  Unit UnitAt(const L2Slice& slice, std::uint64_t offset_bytes) const;
  Fault FaultOf(std::uint64_t entry, const Unit& unit, std::uint64_t offset_bytes) const;
  Error FaultError(Fault fault, std::uint64_t offset_bytes) const;
  std::uint64_t AbsentTablesEnd(std::uint64_t offset_bytes, std::uint64_t end_bytes) const;
  std::uint64_t EmptyEntriesEnd(const L2Slice& slice, std::uint64_t offset_bytes,
                                std::uint64_t end_bytes) const;

  const std::unique_ptr<ByteSource> source_;
  const std::unique_ptr<ByteSource> data_file_;  // may be null
  const ByteSource& data_;                       // *data_file_ or *source_
  const Header header_;
  const std::unique_ptr<ClusterTables> tables_;  // refers to *source_
  const CompressedReader compressed_;            // refers to *source_
  const unsigned unit_bits_;                     ///< log2 of a cluster or subcluster
};

}  // namespace vmferry::image::qcow2
