// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/cluster_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "image/qcow2/cluster.h"
#include "image/qcow2/damage.h"

namespace vmferry::image::qcow2 {
namespace {

/// 4 MiB of slices: 32 GiB of guest with the usual clusters of 64 KiB.
constexpr std::size_t kCachedSlices = 64;

void ToHostOrder(std::span<std::uint64_t> words) {
  if constexpr (std::endian::native == std::endian::little) {
    for (std::uint64_t& word : words) word = __builtin_bswap64(word);
  }
}

Result<std::vector<std::uint64_t>> ReadWords(const ByteSource& source, std::uint64_t offset_bytes,
                                             std::uint64_t count) {
  std::vector<std::uint64_t> words(count);
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, std::as_writable_bytes(std::span(words))));
  ToHostOrder(words);
  return words;
}

bool LiesInside(std::uint64_t offset_bytes, std::uint64_t length_bytes, std::uint64_t file_bytes) {
  return offset_bytes <= file_bytes && length_bytes <= file_bytes - offset_bytes;
}

Error Overlap(std::uint64_t offset_bytes, std::string_view what) {
  return Damage("qcow2.l1.overlap",
                fmt::format("the QCOW2 L1 table places an L2 table at byte {}, where {}",
                            offset_bytes, what))
      .With("offset_bytes", offset_bytes);
}

}  // namespace

ClusterTables::ClusterTables(const ByteSource& source, const Header& header)
    : source_(source),
      header_(header),
      slice_bytes_(std::min(header.cluster_bytes(), kMaxSliceBytes)),
      slice_entries_(slice_bytes_ / header.l2_entry_bytes()),
      slices_per_table_(header.cluster_bytes() / slice_bytes_),
      slices_(kCachedSlices) {}

Result<std::unique_ptr<ClusterTables>> ClusterTables::Load(const ByteSource& source,
                                                           const Header& header) {
  std::unique_ptr<ClusterTables> tables(new ClusterTables(source, header));
  const std::uint64_t count = DivCeil(header.size_bytes, header.l2_span_bytes());
  // qcow2.txt, "Header": l1_size entries of 8 bytes; their number was bounded with the header.
  if (!LiesInside(header.l1_offset_bytes, header.l1_entries * sizeof(std::uint64_t),
                  source.SizeBytes())) {
    return Damage("qcow2.l1.range",
                  fmt::format("the QCOW2 L1 table of {} entries at byte {} lies outside the file "
                              "of {} bytes",
                              header.l1_entries, header.l1_offset_bytes, source.SizeBytes()));
  }
  VMFERRY_ASSIGN_OR_RETURN(tables->tables_, ReadWords(source, header.l1_offset_bytes, count));
  for (std::uint64_t& entry : tables->tables_) {
    if ((entry & ~(kOffsetMask | kCopiedFlag)) != 0) ++tables->reserved_count_;
    entry &= kOffsetMask;
    if (entry != 0) ++tables->present_count_;
  }
  VMFERRY_RETURN_IF_ERROR(tables->CheckEntries(source.SizeBytes()));
  VMFERRY_RETURN_IF_ERROR(tables->CheckPlaces());
  return tables;
}

Result<void> ClusterTables::CheckEntries(std::uint64_t file_bytes) const {
  for (std::uint64_t index = 0; index < tables_.size(); ++index) {
    const std::uint64_t offset_bytes = tables_[index];
    // qcow2.txt, "L1 table entry": an L2 table is aligned to a cluster boundary and as large.
    if (offset_bytes % header_.cluster_bytes() != 0) {
      return Damage("qcow2.l1.alignment",
                    fmt::format("entry {} of the QCOW2 L1 table places an L2 table at byte {}, "
                                "which is no cluster boundary",
                                index, offset_bytes));
    }
    if (offset_bytes != 0 && !LiesInside(offset_bytes, header_.cluster_bytes(), file_bytes)) {
      return Damage("qcow2.l1.range",
                    fmt::format("entry {} of the QCOW2 L1 table places an L2 table at byte {}, "
                                "outside the file of {} bytes",
                                index, offset_bytes, file_bytes));
    }
  }
  return {};
}

Result<void> ClusterTables::CheckPlaces() const {
  const std::uint64_t l1_end_bytes = header_.l1_offset_bytes + header_.l1_entries * 8;
  const std::uint64_t refcounts_end_bytes =
      header_.refcount_table_offset_bytes +
      (std::uint64_t{header_.refcount_table_clusters} << header_.cluster_bits);
  std::vector<std::uint64_t> present;
  present.reserve(present_count_);
  for (const std::uint64_t offset_bytes : tables_) {
    if (offset_bytes == 0) continue;
    present.push_back(offset_bytes);
    const std::uint64_t end_bytes = offset_bytes + header_.cluster_bytes();
    if (offset_bytes < l1_end_bytes && end_bytes > header_.l1_offset_bytes) {
      return Overlap(offset_bytes, "the L1 table itself is");
    }
    if (offset_bytes < refcounts_end_bytes && end_bytes > header_.refcount_table_offset_bytes) {
      return Overlap(offset_bytes, "the refcount table is");
    }
  }
  // Tables are whole clusters: they overlap only when they are the same.
  std::sort(present.begin(), present.end());
  const auto twice = std::adjacent_find(present.begin(), present.end());
  if (twice != present.end()) return Overlap(*twice, "another L2 table is");
  return {};
}

Result<std::shared_ptr<const L2Slice>> ClusterTables::SliceOf(std::uint64_t cluster_index) const {
  const std::uint64_t slice_index = cluster_index / slice_entries_;
  return slices_.Get(slice_index, [&](std::uint64_t index) -> Result<L2Slice> {
    const std::uint64_t table_bytes = tables_[index / slices_per_table_];
    const std::uint64_t within_bytes = index % slices_per_table_ * slice_bytes_;
    return ReadWords(source_, table_bytes + within_bytes, slice_bytes_ / sizeof(std::uint64_t));
  });
}

}  // namespace vmferry::image::qcow2
