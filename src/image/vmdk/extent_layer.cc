// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/extent_layer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace vmferry::image::vmdk {
namespace {

class SparseLayer final : public Layer {
 public:
  SparseLayer(std::unique_ptr<GrainMap> map, std::uint64_t size_bytes)
      : map_(std::move(map)), size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    return map_->RunAt(offset_bytes, limit_bytes, GrainMap::Joining::kAdjacent);
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    return map_->source().ReadAt(run.locator, out);
  }

 private:
  const std::unique_ptr<GrainMap> map_;
  const std::uint64_t size_bytes_;
};

class FlatLayer final : public Layer {
 public:
  FlatLayer(std::shared_ptr<const ByteSource> source, std::uint64_t offset_bytes,
            std::uint64_t size_bytes, RunKind hole)
      : source_(std::move(source)),
        offset_bytes_(offset_bytes),
        size_bytes_(size_bytes),
        hole_(hole) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source_->RunAt(offset_bytes_ + offset_bytes));
    return LayerRun{.offset_bytes = offset_bytes,
                    .length_bytes = std::min(run.length_bytes, limit_bytes),
                    .kind = run.hole ? hole_ : RunKind::kData,
                    .locator = offset_bytes_ + offset_bytes};
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    return source_->ReadAt(run.locator, out);
  }

 private:
  const std::shared_ptr<const ByteSource> source_;
  const std::uint64_t offset_bytes_;
  const std::uint64_t size_bytes_;
  const RunKind hole_;
};

class ZeroLayer final : public Layer {
 public:
  explicit ZeroLayer(std::uint64_t size_bytes) : size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    return LayerRun{
        .offset_bytes = offset_bytes, .length_bytes = limit_bytes, .kind = RunKind::kZero};
  }

  Result<void> ReadRun(const LayerRun&, std::span<std::byte> out) const override {
    std::memset(out.data(), 0, out.size());
    return {};
  }

 private:
  const std::uint64_t size_bytes_;
};

class JoinedLayer final : public Layer {
 public:
  explicit JoinedLayer(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {
    ends_bytes_.reserve(layers_.size());
    for (const auto& layer : layers_) ends_bytes_.push_back(SizeBytes() + layer->SizeBytes());
  }

  std::uint64_t SizeBytes() const override { return ends_bytes_.empty() ? 0 : ends_bytes_.back(); }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    const std::size_t index = IndexOf(offset_bytes);
    const std::uint64_t begin_bytes = BeginOf(index);
    VMFERRY_ASSIGN_OR_RETURN(
        LayerRun run,
        layers_[index]->RunAt(offset_bytes - begin_bytes,
                              std::min(limit_bytes, ends_bytes_[index] - offset_bytes)));
    run.offset_bytes = offset_bytes;
    return run;
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    const std::size_t index = IndexOf(run.offset_bytes);
    LayerRun inner = run;
    inner.offset_bytes -= BeginOf(index);
    return layers_[index]->ReadRun(inner, out);
  }

 private:
  std::size_t IndexOf(std::uint64_t offset_bytes) const {
    const auto found = std::upper_bound(ends_bytes_.begin(), ends_bytes_.end(), offset_bytes);
    VMFERRY_CHECK(found != ends_bytes_.end());
    return static_cast<std::size_t>(found - ends_bytes_.begin());
  }
  std::uint64_t BeginOf(std::size_t index) const { return index == 0 ? 0 : ends_bytes_[index - 1]; }

  const std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::uint64_t> ends_bytes_;
};

}  // namespace

std::unique_ptr<Layer> MakeSparseLayer(std::unique_ptr<GrainMap> map, std::uint64_t size_bytes) {
  VMFERRY_CHECK(size_bytes <= map->plan().capacity_sectors * kSectorBytes);
  return std::make_unique<SparseLayer>(std::move(map), size_bytes);
}

std::unique_ptr<Layer> MakeFlatLayer(std::shared_ptr<const ByteSource> source,
                                     std::uint64_t offset_bytes, std::uint64_t size_bytes,
                                     RunKind hole) {
  VMFERRY_CHECK(offset_bytes <= source->SizeBytes() &&
                size_bytes <= source->SizeBytes() - offset_bytes);
  return std::make_unique<FlatLayer>(std::move(source), offset_bytes, size_bytes, hole);
}

std::unique_ptr<Layer> MakeZeroLayer(std::uint64_t size_bytes) {
  return std::make_unique<ZeroLayer>(size_bytes);
}

std::unique_ptr<Layer> JoinLayers(std::vector<std::unique_ptr<Layer>> layers) {
  VMFERRY_CHECK(!layers.empty());
  if (layers.size() == 1) return std::move(layers.front());
  return std::make_unique<JoinedLayer>(std::move(layers));
}

}  // namespace vmferry::image::vmdk
