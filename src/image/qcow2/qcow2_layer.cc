// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/qcow2_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "image/qcow2/damage.h"

namespace vmferry::image::qcow2 {
namespace {

/// LayerRun::locator of a compressed run; that of a plain one is its place in the file.
constexpr std::uint64_t kCompressedLocator = ~std::uint64_t{0};

RunKind RunKindOf(ClusterKind kind) {
  switch (kind) {
    case ClusterKind::kAbsent:
      return RunKind::kAbsent;
    case ClusterKind::kZero:
      return RunKind::kZero;
    case ClusterKind::kPlain:
    case ClusterKind::kCompressed:
    case ClusterKind::kInvalid:
      break;
  }
  return RunKind::kData;
}

}  // namespace

Qcow2Layer::Qcow2Layer(std::unique_ptr<ByteSource> source, std::unique_ptr<ByteSource> data,
                       const Header& header, std::unique_ptr<ClusterTables> tables)
    : source_(std::move(source)),
      data_file_(std::move(data)),
      data_(data_file_ ? *data_file_ : *source_),
      header_(header),
      tables_(std::move(tables)),
      compressed_(*source_, header_),
      unit_bits_(header.extended_l2() ? header.cluster_bits - 5 : header.cluster_bits) {}

Qcow2Layer::Fault Qcow2Layer::FaultOf(std::uint64_t entry, const Unit& unit,
                                      std::uint64_t offset_bytes) const {
  switch (unit.kind) {
    case ClusterKind::kAbsent:
    case ClusterKind::kZero:
      return Fault::kNone;
    case ClusterKind::kInvalid:
      return Fault::kEntry;
    case ClusterKind::kCompressed:
      // qcow2.txt, "External data file": compressed clusters are not possible with one.
      if (data_file_) return Fault::kEntry;
      return compressed_.CanHold(entry) ? Fault::kNone : Fault::kTruncated;
    case ClusterKind::kPlain:
      break;
  }
  // qcow2.txt, "Standard Cluster Descriptor": the place is a cluster boundary.
  if ((entry & kOffsetMask) % header_.cluster_bytes() != 0) return Fault::kAlignment;
  const std::uint64_t length_bytes = unit.end_bytes - offset_bytes;
  const bool inside =
      unit.place_bytes <= data_.SizeBytes() && length_bytes <= data_.SizeBytes() - unit.place_bytes;
  return inside ? Fault::kNone : Fault::kTruncated;
}

Qcow2Layer::Unit Qcow2Layer::UnitAt(const L2Slice& slice, std::uint64_t offset_bytes) const {
  const std::uint64_t index = (offset_bytes >> header_.cluster_bits) % tables_->slice_entries();
  Unit unit;
  std::uint64_t entry = 0;
  if (header_.extended_l2()) {
    entry = slice[2 * index];
    const auto subcluster = static_cast<unsigned>((offset_bytes >> unit_bits_) % kSubclusters);
    unit.kind = KindOfSubcluster(entry, slice[2 * index + 1], subcluster, data_file_ != nullptr);
  } else {
    entry = slice[index];
    unit.kind = KindOfCluster(header_, entry, data_file_ != nullptr);
  }
  const unsigned bits = unit.kind == ClusterKind::kCompressed ? header_.cluster_bits : unit_bits_;
  unit.end_bytes = std::min(((offset_bytes >> bits) + 1) << bits, header_.size_bytes);
  if (unit.kind == ClusterKind::kPlain) {
    unit.place_bytes = (entry & kOffsetMask) + offset_bytes % header_.cluster_bytes();
  }
  unit.fault = FaultOf(entry, unit, offset_bytes);
  return unit;
}

Error Qcow2Layer::FaultError(Fault fault, std::uint64_t offset_bytes) const {
  const std::uint64_t cluster = offset_bytes >> header_.cluster_bits;
  const auto error = [&](std::string_view reason, std::string_view what) {
    return Damage(reason,
                  fmt::format("the L2 entry of cluster {} of the QCOW2 disk {}", cluster, what))
        .With("cluster", cluster);
  };
  if (fault == Fault::kAlignment) {
    return error("qcow2.l2.alignment", "places it at what is no cluster boundary");
  }
  if (fault == Fault::kTruncated) {
    return error("qcow2.cluster.truncated",
                 fmt::format("places it outside the file of {} bytes", data_.SizeBytes()));
  }
  return error("qcow2.l2.entry", "contradicts itself or the header");
}

/// The end of the absent tables that begin with the one of `offset_bytes`.
std::uint64_t Qcow2Layer::AbsentTablesEnd(std::uint64_t offset_bytes,
                                          std::uint64_t end_bytes) const {
  std::uint64_t table = offset_bytes / header_.l2_span_bytes();
  const std::uint64_t last = (end_bytes - 1) / header_.l2_span_bytes();
  while (table < last && tables_->IsAbsent(table + 1)) ++table;
  return table == last ? end_bytes : (table + 1) * header_.l2_span_bytes();
}

/// The end of the entries that are all zero bits: a table of a sparse disk is full of them.
std::uint64_t Qcow2Layer::EmptyEntriesEnd(const L2Slice& slice, std::uint64_t offset_bytes,
                                          std::uint64_t end_bytes) const {
  const std::uint64_t words = header_.l2_entry_bytes() / sizeof(std::uint64_t);
  const std::uint64_t cluster = offset_bytes >> header_.cluster_bits;
  const std::uint64_t last = (end_bytes - 1) >> header_.cluster_bits;
  const std::uint64_t begin = cluster % tables_->slice_entries() * words;
  const auto from = slice.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto to = from + static_cast<std::ptrdiff_t>((last - cluster + 1) * words);
  const auto found = std::find_if(from, to, [](std::uint64_t word) { return word != 0; });
  const std::uint64_t empty = static_cast<std::uint64_t>(found - from) / words;
  return std::min(end_bytes, std::max(offset_bytes, (cluster + empty) << header_.cluster_bits));
}

Result<LayerRun> Qcow2Layer::RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const {
  std::uint64_t end_bytes = offset_bytes + limit_bytes;
  if (tables_->IsAbsent(offset_bytes / header_.l2_span_bytes())) {
    return LayerRun{.offset_bytes = offset_bytes,
                    .length_bytes = AbsentTablesEnd(offset_bytes, end_bytes) - offset_bytes,
                    .kind = RunKind::kAbsent};
  }
  const std::uint64_t cluster = offset_bytes >> header_.cluster_bits;
  VMFERRY_ASSIGN_OR_RETURN(const auto slice, tables_->SliceOf(cluster));
  const std::uint64_t slice_span_bytes = tables_->slice_entries() << header_.cluster_bits;
  // The last slice of a disk near 2^63 bytes ends where 64 bits still count.
  end_bytes = std::min(end_bytes, (offset_bytes / slice_span_bytes + 1) * slice_span_bytes);

  const Unit first = UnitAt(*slice, offset_bytes);
  if (first.fault != Fault::kNone) return FaultError(first.fault, offset_bytes);
  std::uint64_t at_bytes = first.end_bytes;
  while (at_bytes < end_bytes) {
    if (first.kind == ClusterKind::kAbsent) {
      at_bytes = EmptyEntriesEnd(*slice, at_bytes, end_bytes);
      if (at_bytes == end_bytes) break;
    }
    const Unit next = UnitAt(*slice, at_bytes);
    if (next.fault != Fault::kNone || next.kind != first.kind) break;
    if (next.kind == ClusterKind::kPlain &&
        next.place_bytes - first.place_bytes != at_bytes - offset_bytes) {
      break;
    }
    at_bytes = next.end_bytes;
  }
  return LayerRun{
      .offset_bytes = offset_bytes,
      .length_bytes = std::min(at_bytes, end_bytes) - offset_bytes,
      .kind = RunKindOf(first.kind),
      .locator = first.kind == ClusterKind::kCompressed ? kCompressedLocator : first.place_bytes};
}

Result<void> Qcow2Layer::ReadRun(const LayerRun& run, std::span<std::byte> out) const {
  if (run.locator != kCompressedLocator) return data_.ReadAt(run.locator, out);
  VMFERRY_ASSIGN_OR_RETURN(const auto slice,
                           tables_->SliceOf(run.offset_bytes >> header_.cluster_bits));
  return compressed_.Read(*slice, run.offset_bytes, out);
}

Result<std::uint64_t> Qcow2Layer::CountAllocated() const {
  std::uint64_t allocated_bytes = 0;
  for (std::uint64_t at_bytes = 0; at_bytes < header_.size_bytes;) {
    VMFERRY_ASSIGN_OR_RETURN(const LayerRun run, RunAt(at_bytes, header_.size_bytes - at_bytes));
    if (run.kind == RunKind::kData) allocated_bytes += run.length_bytes;
    at_bytes += run.length_bytes;
  }
  return allocated_bytes;
}

}  // namespace vmferry::image::qcow2
