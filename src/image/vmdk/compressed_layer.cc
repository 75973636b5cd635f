// SPDX-License-Identifier: Apache-2.0
//
// Reads compressed grains: those that lie one behind the other in the file with one read, inflated
// straight into the caller's bytes.
//
// Specification: VMware "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse
// Extents".
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "base/units.h"
#include "codec/deflate.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/extent_layer.h"
#include "image/vmdk/marker.h"

namespace vmferry::image::vmdk {
namespace {

/// Neighbouring grains are read from the file together up to this span: few system calls, and
/// what was read is still in the processor's cache when it is inflated.
constexpr std::uint64_t kMaxBatchBytes = 512 * kKiB;
/// Working memory that is kept for the next read: as many as readers run at a time.
constexpr std::size_t kMaxSpareScratches = 16;

/// Bytes a grain may take in the file, its marker included. Deflate grows incompressible data by
/// well under a sixteenth; twice the grain is what QEMU's reader allows (block/vmdk.c).
std::uint64_t MaxStoredGrainBytes(const MapPlan& plan) {
  return kGrainMarkerBytes + 2 * plan.grain_bytes();
}

Error GrainDamage(std::string_view reason, std::uint64_t grain_index,
                  std::uint64_t file_offset_bytes, std::string_view what) {
  return Damage(reason, fmt::format("grain {} of the VMDK, at byte {} of the file, {}", grain_index,
                                    file_offset_bytes, what))
      .With("offset_bytes", file_offset_bytes)
      .With("grain", grain_index);
}

/// `stored` holds at least a marker.
Result<GrainMarker> CheckMarker(const MapPlan& plan, std::uint64_t grain_index,
                                std::uint64_t file_offset_bytes,
                                std::span<const std::byte> stored) {
  const GrainMarker marker = ParseGrainMarker(stored);
  // VMDK 5.0, "Stream-Optimized Compressed Sparse Extents": a grain marker gives the guest sector
  // of its grain and the length of the compressed data, which is not 0.
  if (marker.guest_sector != grain_index * plan.grain_sectors) {
    return GrainDamage("vmdk.grain.marker", grain_index, file_offset_bytes,
                       fmt::format("is marked as guest sector {}, not {}", marker.guest_sector,
                                   grain_index * plan.grain_sectors));
  }
  const std::uint64_t stored_bytes = kGrainMarkerBytes + std::uint64_t{marker.compressed_bytes};
  if (marker.compressed_bytes == 0 || stored_bytes > MaxStoredGrainBytes(plan)) {
    return GrainDamage("vmdk.grain.size", grain_index, file_offset_bytes,
                       fmt::format("is marked as {} compressed bytes", marker.compressed_bytes));
  }
  if (stored_bytes > plan.end_bytes - file_offset_bytes) {
    return GrainDamage("vmdk.grain.truncated", grain_index, file_offset_bytes,
                       fmt::format("has {} compressed bytes, more than the file holds there",
                                   marker.compressed_bytes));
  }
  return marker;
}

/// Working memory of one read; kept for the next one.
class Scratch {
 public:
  std::span<std::byte> Compressed(std::uint64_t length_bytes) {
    return Grown(compressed_, compressed_bytes_, length_bytes);
  }
  /// For a grain that reaches past where the next one begins.
  std::span<std::byte> Oversize(std::uint64_t length_bytes) {
    return Grown(oversize_, oversize_bytes_, length_bytes);
  }
  std::span<std::byte> Grain(std::uint64_t length_bytes) {
    return Grown(grain_, grain_bytes_, length_bytes);
  }
  codec::ZlibInflater inflater;

 private:
  using Bytes = std::unique_ptr<std::byte[]>;
  static std::span<std::byte> Grown(Bytes& bytes, std::uint64_t& size_bytes,
                                    std::uint64_t wanted_bytes) {
    if (size_bytes < wanted_bytes) {
      bytes = std::make_unique_for_overwrite<std::byte[]>(wanted_bytes);
      size_bytes = wanted_bytes;
    }
    return {bytes.get(), wanted_bytes};
  }

  Bytes compressed_;
  std::uint64_t compressed_bytes_ = 0;
  Bytes oversize_;
  std::uint64_t oversize_bytes_ = 0;
  Bytes grain_;
  std::uint64_t grain_bytes_ = 0;
};

/// Lends out working memory. Thread-safe.
class ScratchPool {
 public:
  class Lease {
   public:
    explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.Take()) {}
    ~Lease() { pool_.Return(std::move(scratch_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Scratch& operator*() { return *scratch_; }

   private:
    ScratchPool& pool_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  std::unique_ptr<Scratch> Take() {
    {
      MutexLock lock(mutex_);
      if (!spare_.empty()) {
        auto scratch = std::move(spare_.back());
        spare_.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>();
  }
  void Return(std::unique_ptr<Scratch> scratch) {
    MutexLock lock(mutex_);
    if (spare_.size() < kMaxSpareScratches) spare_.push_back(std::move(scratch));
  }

  Mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> spare_ VMFERRY_GUARDED_BY(mutex_);
};

/// Grains of one block that are read from the file together.
struct Batch {
  std::uint64_t count = 0;
  std::uint64_t file_offset_bytes = 0;
  std::uint64_t file_length_bytes = 0;
};

class CompressedLayer final : public Layer {
 public:
  CompressedLayer(std::unique_ptr<GrainMap> map, std::uint64_t size_bytes)
      : map_(std::move(map)), plan_(map_->plan()), size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    return map_->RunAt(offset_bytes, limit_bytes, GrainMap::Joining::kAny);
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    ScratchPool::Lease scratch(pool_);
    std::uint64_t grain = run.offset_bytes / plan_.grain_bytes();
    const std::uint64_t end = DivCeil(run.offset_bytes + out.size(), plan_.grain_bytes());
    while (grain < end) {
      VMFERRY_ASSIGN_OR_RETURN(const auto block, map_->BlockOf(grain));
      VMFERRY_ASSIGN_OR_RETURN(const Batch batch, PlanBatch(*block, grain, end));
      VMFERRY_RETURN_IF_ERROR(ReadBatch(*block, grain, batch, run.offset_bytes, out, *scratch));
      grain += batch.count;
    }
    return {};
  }

 private:
  Result<Batch> PlanBatch(const GrainBlock& block, std::uint64_t grain, std::uint64_t end) const;
  Result<void> ReadBatch(const GrainBlock& block, std::uint64_t first_grain, const Batch& batch,
                         std::uint64_t offset_bytes, std::span<std::byte> out,
                         Scratch& scratch) const;
  Result<void> InflateGrain(std::uint64_t grain_index, std::span<const std::byte> compressed,
                            std::uint64_t offset_bytes, std::span<std::byte> out,
                            Scratch& scratch) const;

  const std::unique_ptr<GrainMap> map_;
  const MapPlan plan_;
  const std::uint64_t size_bytes_;
  mutable ScratchPool pool_;
};

Result<Batch> CompressedLayer::PlanBatch(const GrainBlock& block, std::uint64_t grain,
                                         std::uint64_t end) const {
  const std::uint64_t first = grain % kBlockEntries;
  const auto sector_of = [&](std::uint64_t i) -> std::uint64_t {
    return i < block.sectors.size() ? block.sectors[i] : GrainBlock::kAbsent;
  };
  if (sector_of(first) <= GrainBlock::kZero) {
    return GrainDamage("vmdk.grain_table.range", grain, 0, "changed while the disk was read");
  }
  const std::uint64_t max_stored_bytes = MaxStoredGrainBytes(plan_);
  const auto offset_of = [&](std::uint64_t i) { return sector_of(i) * kSectorBytes; };
  // Writers put grains down one after the other, so the next grain's place tells where one ends.
  const auto follows = [&](std::uint64_t i) {
    return sector_of(i) > sector_of(i - 1) && offset_of(i) - offset_of(i - 1) <= max_stored_bytes;
  };
  Batch batch = {.count = 1, .file_offset_bytes = offset_of(first)};
  while (grain + batch.count < end && follows(first + batch.count) &&
         offset_of(first + batch.count) - batch.file_offset_bytes <= kMaxBatchBytes) {
    ++batch.count;
  }
  const std::uint64_t last = first + batch.count - 1;
  const std::uint64_t end_bytes =
      follows(last + 1)
          ? offset_of(last + 1)
          : std::min(offset_of(last) + kGrainMarkerBytes + plan_.grain_bytes(), plan_.end_bytes);
  batch.file_length_bytes = end_bytes - batch.file_offset_bytes;
  return batch;
}

Result<void> CompressedLayer::ReadBatch(const GrainBlock& block, std::uint64_t first_grain,
                                        const Batch& batch, std::uint64_t offset_bytes,
                                        std::span<std::byte> out, Scratch& scratch) const {
  const ByteSource& source = map_->source();
  const std::span<std::byte> bytes = scratch.Compressed(batch.file_length_bytes);
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(batch.file_offset_bytes, bytes));
  for (std::uint64_t i = 0; i < batch.count; ++i) {
    const std::uint64_t grain_index = first_grain + i;
    const std::uint64_t file_offset_bytes =
        block.sectors[grain_index % kBlockEntries] * kSectorBytes;
    const auto stored = bytes.subspan(file_offset_bytes - batch.file_offset_bytes);
    VMFERRY_ASSIGN_OR_RETURN(const GrainMarker marker,
                             CheckMarker(plan_, grain_index, file_offset_bytes, stored));
    std::span<const std::byte> compressed = stored.subspan(kGrainMarkerBytes);
    if (compressed.size() < marker.compressed_bytes) {
      // Larger than a grain, or reaching past where the next one begins: read it by itself.
      const std::span<std::byte> oversize = scratch.Oversize(marker.compressed_bytes);
      VMFERRY_RETURN_IF_ERROR(source.ReadAt(file_offset_bytes + kGrainMarkerBytes, oversize));
      compressed = oversize;
    }
    VMFERRY_RETURN_IF_ERROR(InflateGrain(grain_index, compressed.first(marker.compressed_bytes),
                                         offset_bytes, out, scratch));
  }
  return {};
}

Result<void> CompressedLayer::InflateGrain(std::uint64_t grain_index,
                                           std::span<const std::byte> compressed,
                                           std::uint64_t offset_bytes, std::span<std::byte> out,
                                           Scratch& scratch) const {
  const std::uint64_t grain_begin = grain_index * plan_.grain_bytes();
  const std::uint64_t grain_length =
      std::min(plan_.grain_bytes(), plan_.capacity_sectors * kSectorBytes - grain_begin);
  const std::uint64_t begin = std::max(grain_begin, offset_bytes);
  const std::uint64_t end = std::min(grain_begin + grain_length, offset_bytes + out.size());
  const std::span<std::byte> wanted = out.subspan(begin - offset_bytes, end - begin);
  const bool whole = wanted.size() == plan_.grain_bytes();
  const std::span<std::byte> target = whole ? wanted : scratch.Grain(plan_.grain_bytes());
  auto inflated = scratch.inflater.Inflate(compressed, target);
  if (!inflated) {
    return Damage("vmdk.grain.inflate",
                  fmt::format("the compressed data of grain {} of the VMDK is broken", grain_index))
        .With("grain", grain_index)
        .CausedBy(std::move(inflated).error());
  }
  // A grain inflates to its full size; only the last one may stop where the disk does.
  if (*inflated != plan_.grain_bytes() && *inflated != grain_length) {
    return Damage("vmdk.grain.length",
                  fmt::format("grain {} of the VMDK inflates to {} bytes, not {}", grain_index,
                              *inflated, plan_.grain_bytes()))
        .With("grain", grain_index);
  }
  if (!whole) {
    std::memcpy(wanted.data(), target.data() + (begin - grain_begin), wanted.size());
  }
  return {};
}

}  // namespace

std::unique_ptr<Layer> MakeCompressedLayer(std::unique_ptr<GrainMap> map,
                                           std::uint64_t size_bytes) {
  VMFERRY_CHECK(size_bytes <= map->plan().capacity_sectors * kSectorBytes);
  return std::make_unique<CompressedLayer>(std::move(map), size_bytes);
}

Result<void> CheckGrainAt(const GrainMap& map, std::uint64_t grain_index,
                          std::uint64_t file_offset_bytes) {
  std::array<std::byte, kGrainMarkerBytes> marker;
  VMFERRY_RETURN_IF_ERROR(map.source().ReadAt(file_offset_bytes, marker));
  const auto checked = CheckMarker(map.plan(), grain_index, file_offset_bytes, marker);
  if (!checked) return checked.error();
  return {};
}

}  // namespace vmferry::image::vmdk
