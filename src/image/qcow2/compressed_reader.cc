// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/compressed_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "codec/deflate.h"
#include "codec/zstd.h"
#include "image/qcow2/damage.h"

namespace vmferry::image::qcow2 {
namespace {

/// Stored bytes that are read together: enough to make system calls cheap, and they stay in the
/// processor's cache until they are inflated.
constexpr std::uint64_t kBatchBytes = 512 * kKiB;
/// What lies between two clusters of a batch is read in vain: a plain cluster, say.
constexpr std::uint64_t kMaxGapBytes = 64 * kKiB;
constexpr std::size_t kMaxIdle = 16;

Error ClusterDamage(std::string_view reason, std::uint64_t cluster_index, std::string_view what) {
  return Damage(reason,
                fmt::format("compressed cluster {} of the QCOW2 disk {}", cluster_index, what))
      .With("cluster", cluster_index);
}

}  // namespace

/// What one Read needs besides the disk; used by one thread at a time.
class CompressedReader::Scratch {
 public:
  explicit Scratch(const Header& header) : cluster_bytes_(header.cluster_bytes()) {}

  /// The cluster whose bytes Cluster() holds.
  std::optional<std::uint64_t> cluster_index;

  std::span<std::byte> Stored(std::uint64_t length_bytes) {
    if (stored_capacity_ < length_bytes) {
      stored_capacity_ = std::max(length_bytes, kBatchBytes);
      stored_ = std::make_unique_for_overwrite<std::byte[]>(stored_capacity_);
    }
    return {stored_.get(), length_bytes};
  }
  std::span<std::byte> Cluster() {
    if (!cluster_) cluster_ = std::make_unique_for_overwrite<std::byte[]>(cluster_bytes_);
    return {cluster_.get(), cluster_bytes_};
  }
  codec::ZlibInflater& Inflater() {
    if (!inflater_) inflater_.emplace();
    return *inflater_;
  }
  codec::ZstdDecoder& Decoder() {
    if (!decoder_) decoder_.emplace();
    return *decoder_;
  }

 private:
  const std::uint64_t cluster_bytes_;
  std::unique_ptr<std::byte[]> stored_;
  std::uint64_t stored_capacity_ = 0;
  std::unique_ptr<std::byte[]> cluster_;
  std::optional<codec::ZlibInflater> inflater_;
  std::optional<codec::ZstdDecoder> decoder_;
};

CompressedReader::CompressedReader(const ByteSource& source, const Header& header)
    : source_(source), header_(header) {}
CompressedReader::~CompressedReader() = default;

bool CompressedReader::CanHold(std::uint64_t entry) const {
  const CompressedRange range = DecodeCompressed(header_, entry);
  // qcow2.txt, "Compressed Clusters Descriptor": whole sectors are counted, of which the file may
  // lack what is behind the data. The first cluster is the header's.
  const std::uint64_t end_bytes = DivCeil(source_.SizeBytes(), kSectorBytes) * kSectorBytes;
  return range.offset_bytes >= header_.cluster_bytes() &&
         range.offset_bytes < source_.SizeBytes() &&
         range.length_bytes <= end_bytes - range.offset_bytes;
}

CompressedRange CompressedReader::RangeOf(const L2Slice& slice, std::uint64_t cluster_index) const {
  const std::uint64_t words_per_entry = header_.l2_entry_bytes() / sizeof(std::uint64_t);
  const std::uint64_t entries = slice.size() / words_per_entry;
  CompressedRange range =
      DecodeCompressed(header_, slice[cluster_index % entries * words_per_entry]);
  range.length_bytes = std::min(range.length_bytes, source_.SizeBytes() - range.offset_bytes);
  return range;
}

/// How many clusters from `first` on, but not `end`, are read together: those that lie in the file
/// in the guest's order and close together, as every writer puts them.
std::uint64_t CompressedReader::PlanBatch(const L2Slice& slice, std::uint64_t first,
                                          std::uint64_t end) const {
  const CompressedRange first_range = RangeOf(slice, first);
  std::uint64_t last_end_bytes = first_range.offset_bytes + first_range.length_bytes;
  std::uint64_t index = first + 1;
  for (; index < end; ++index) {
    const CompressedRange range = RangeOf(slice, index);
    const std::uint64_t end_bytes = range.offset_bytes + range.length_bytes;
    if (range.offset_bytes < first_range.offset_bytes || end_bytes < last_end_bytes ||
        range.offset_bytes > last_end_bytes + kMaxGapBytes ||
        end_bytes - first_range.offset_bytes > kBatchBytes) {
      break;
    }
    last_end_bytes = end_bytes;
  }
  return index - first;
}

Result<void> CompressedReader::Inflate(std::uint64_t cluster_index,
                                       std::span<const std::byte> stored, std::span<std::byte> out,
                                       Scratch& scratch) const {
  std::optional<Error> failure;
  std::size_t length_bytes = out.size();
  if (header_.compression == Compression::kZstd) {
    auto decoded = scratch.Decoder().Decode(stored, out);
    if (!decoded) failure = std::move(decoded).error();
  } else {
    auto inflated = scratch.Inflater().InflateRaw(stored, out);
    if (inflated) {
      length_bytes = *inflated;
    } else {
      failure = std::move(inflated).error();
    }
  }
  if (failure) {
    return ClusterDamage("qcow2.cluster.inflate", cluster_index, "has broken data")
        .CausedBy(*std::move(failure));
  }
  // qcow2.txt, "Compressed clusters": the data inflates to one cluster. For the last one of a disk,
  // what the disk has of it is enough.
  const std::uint64_t begin_bytes = cluster_index << header_.cluster_bits;
  if (length_bytes < std::min<std::uint64_t>(out.size(), header_.size_bytes - begin_bytes)) {
    return ClusterDamage("qcow2.cluster.length", cluster_index,
                         fmt::format("inflates to {} bytes, not {}", length_bytes, out.size()));
  }
  return {};
}

Result<void> CompressedReader::ReadCluster(std::uint64_t cluster_index,
                                           std::span<const std::byte> stored,
                                           std::uint64_t offset_bytes, std::span<std::byte> out,
                                           Scratch& scratch) const {
  const std::uint64_t begin_bytes = cluster_index << header_.cluster_bits;
  const std::uint64_t from_bytes = std::max(begin_bytes, offset_bytes);
  const std::uint64_t to_bytes =
      std::min(begin_bytes + header_.cluster_bytes(), offset_bytes + out.size());
  const std::span<std::byte> wanted = out.subspan(from_bytes - offset_bytes, to_bytes - from_bytes);
  if (wanted.size() == header_.cluster_bytes()) {
    return Inflate(cluster_index, stored, wanted, scratch);
  }
  if (scratch.cluster_index != cluster_index) {
    scratch.cluster_index.reset();
    VMFERRY_RETURN_IF_ERROR(Inflate(cluster_index, stored, scratch.Cluster(), scratch));
    scratch.cluster_index = cluster_index;
  }
  std::memcpy(wanted.data(), scratch.Cluster().data() + (from_bytes - begin_bytes), wanted.size());
  return {};
}

Result<void> CompressedReader::ReadInto(const L2Slice& slice, std::uint64_t offset_bytes,
                                        std::span<std::byte> out, Scratch& scratch) const {
  const std::uint64_t end = DivCeil(offset_bytes + out.size(), header_.cluster_bytes());
  std::uint64_t index = offset_bytes >> header_.cluster_bits;
  if (index + 1 == end && scratch.cluster_index == index) {
    return ReadCluster(index, {}, offset_bytes, out, scratch);  // a small read next to another
  }
  while (index < end) {
    const std::uint64_t count = PlanBatch(slice, index, end);
    const CompressedRange first = RangeOf(slice, index);
    const CompressedRange last = RangeOf(slice, index + count - 1);
    const std::span<std::byte> batch =
        scratch.Stored(last.offset_bytes + last.length_bytes - first.offset_bytes);
    VMFERRY_RETURN_IF_ERROR(source_.ReadAt(first.offset_bytes, batch));
    for (const std::uint64_t batch_end = index + count; index < batch_end; ++index) {
      const CompressedRange range = RangeOf(slice, index);
      VMFERRY_RETURN_IF_ERROR(ReadCluster(
          index, batch.subspan(range.offset_bytes - first.offset_bytes, range.length_bytes),
          offset_bytes, out, scratch));
    }
  }
  return {};
}

Result<void> CompressedReader::Read(const L2Slice& slice, std::uint64_t offset_bytes,
                                    std::span<std::byte> out) const {
  std::unique_ptr<Scratch> scratch;
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      scratch = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!scratch) scratch = std::make_unique<Scratch>(header_);
  VMFERRY_RETURN_IF_ERROR(ReadInto(slice, offset_bytes, out, *scratch));
  MutexLock lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(scratch));
  return {};
}

}  // namespace vmferry::image::qcow2
