// SPDX-License-Identifier: Apache-2.0
#include "image/layer.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "image/extent_list.h"

namespace vmferry::image {
namespace {

class LayeredImage final : public DiskImage {
 public:
  LayeredImage(std::unique_ptr<Layer> layer, std::unique_ptr<DiskImage> parent, DiskImageInfo info)
      : layer_(std::move(layer)), parent_(std::move(parent)), info_(std::move(info)) {}

  std::uint64_t SizeBytes() const override { return layer_->SizeBytes(); }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, out.size()));
    while (!out.empty()) {
      VMFERRY_ASSIGN_OR_RETURN(const LayerRun run, RunAt(offset_bytes, out.size()));
      const std::span<std::byte> part = out.first(run.length_bytes);
      switch (run.kind) {
        case RunKind::kData:
          VMFERRY_RETURN_IF_ERROR(layer_->ReadRun(run, part));
          break;
        case RunKind::kZero:
          std::memset(part.data(), 0, part.size());
          break;
        case RunKind::kAbsent:
          VMFERRY_RETURN_IF_ERROR(ReadParent(offset_bytes, part));
          break;
      }
      offset_bytes += part.size();
      out = out.subspan(part.size());
    }
    return {};
  }

  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override {
    VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, length_bytes));
    std::vector<Extent> extents;
    while (length_bytes > 0 && extents.size() < kExtentsMax) {
      VMFERRY_ASSIGN_OR_RETURN(LayerRun run, RunAt(offset_bytes, length_bytes));
      switch (run.kind) {
        case RunKind::kData:
          AppendExtent(extents, {offset_bytes, run.length_bytes, ExtentKind::kData});
          break;
        case RunKind::kZero:
          AppendExtent(extents, {offset_bytes, run.length_bytes, ExtentKind::kZero});
          break;
        case RunKind::kAbsent:
          VMFERRY_ASSIGN_OR_RETURN(run.length_bytes,
                                   AppendParentExtents(extents, offset_bytes, run.length_bytes));
          break;
      }
      offset_bytes += run.length_bytes;
      length_bytes -= run.length_bytes;
    }
    return extents;
  }

  const DiskImageInfo& Info() const override { return info_; }

 private:
  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const {
    VMFERRY_ASSIGN_OR_RETURN(const LayerRun run, layer_->RunAt(offset_bytes, limit_bytes));
    VMFERRY_CHECK(run.length_bytes > 0 && run.length_bytes <= limit_bytes);
    return run;
  }

  /// How much of the range the parent has.
  std::uint64_t InParent(std::uint64_t offset_bytes, std::uint64_t length_bytes) const {
    if (parent_ == nullptr || offset_bytes >= parent_->SizeBytes()) return 0;
    return std::min(length_bytes, parent_->SizeBytes() - offset_bytes);
  }

  Result<void> ReadParent(std::uint64_t offset_bytes, std::span<std::byte> out) const {
    const std::uint64_t present_bytes = InParent(offset_bytes, out.size());
    if (present_bytes > 0) {
      VMFERRY_RETURN_IF_ERROR(parent_->Read(offset_bytes, out.first(present_bytes)));
    }
    if (present_bytes < out.size()) {
      std::memset(out.data() + present_bytes, 0, out.size() - present_bytes);
    }
    return {};
  }

  /// How much of the range it appended: the parent's list may end before.
  Result<std::uint64_t> AppendParentExtents(std::vector<Extent>& extents,
                                            std::uint64_t offset_bytes,
                                            std::uint64_t length_bytes) const {
    const std::uint64_t present_bytes = InParent(offset_bytes, length_bytes);
    if (present_bytes > 0) {
      VMFERRY_ASSIGN_OR_RETURN(const std::vector<Extent> below,
                               parent_->Extents(offset_bytes, present_bytes));
      for (const Extent& extent : below) AppendExtent(extents, extent);
      const std::uint64_t told_bytes = EndOf(below, offset_bytes) - offset_bytes;
      if (told_bytes < present_bytes) return told_bytes;
    }
    AppendExtent(extents,
                 {offset_bytes + present_bytes, length_bytes - present_bytes, ExtentKind::kHole});
    return length_bytes;
  }

  const std::unique_ptr<Layer> layer_;
  const std::unique_ptr<DiskImage> parent_;  // may be null
  const DiskImageInfo info_;
};

}  // namespace

std::unique_ptr<DiskImage> MakeLayeredImage(std::unique_ptr<Layer> layer,
                                            std::optional<ParentDisk> parent, DiskImageInfo info) {
  info.virtual_size_bytes = layer->SizeBytes();
  if (!parent) return std::make_unique<LayeredImage>(std::move(layer), nullptr, std::move(info));
  const DiskImageInfo& below = parent->image->Info();
  info.chain = {{.path = parent->path,
                 .format = below.format,
                 .subformat = below.subformat,
                 .virtual_size_bytes = below.virtual_size_bytes}};
  info.chain.insert(info.chain.end(), below.chain.begin(), below.chain.end());
  return std::make_unique<LayeredImage>(std::move(layer), std::move(parent->image),
                                        std::move(info));
}

}  // namespace vmferry::image
