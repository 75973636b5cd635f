// SPDX-License-Identifier: Apache-2.0
#include "image/raw/raw_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "image/extent_list.h"

namespace vmferry::image::raw {
namespace {

class RawImage final : public DiskImage {
 public:
  RawImage(std::unique_ptr<ByteSource> source, DiskImageInfo info)
      : source_(std::move(source)), info_(std::move(info)) {}

  std::uint64_t SizeBytes() const override { return source_->SizeBytes(); }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, out.size()));
    return source_->ReadAt(offset_bytes, out);
  }

  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override {
    VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, length_bytes));
    std::vector<Extent> extents;
    while (length_bytes > 0 && extents.size() < kExtentsMax) {
      VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source_->RunAt(offset_bytes));
      const std::uint64_t step_bytes = std::min(run.length_bytes, length_bytes);
      AppendExtent(extents, {.offset_bytes = offset_bytes,
                             .length_bytes = step_bytes,
                             .kind = run.hole ? ExtentKind::kHole : ExtentKind::kData});
      offset_bytes += step_bytes;
      length_bytes -= step_bytes;
    }
    return extents;
  }

  const DiskImageInfo& Info() const override { return info_; }

 private:
  const std::unique_ptr<ByteSource> source_;
  const DiskImageInfo info_;
};

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source) {
  const std::uint64_t size_bytes = source->SizeBytes();
  if (size_bytes == 0) {
    return Error(ErrorCode::kInvalidArgument, "image.empty", "the disk image has no bytes")
        .WithRemedy("check that its export or download was completed");
  }
  if (size_bytes < kSectorBytes) {
    return Error(ErrorCode::kInvalidArgument, "image.too_small",
                 fmt::format("{} bytes are less than one sector of a disk", size_bytes))
        .WithRemedy("check that its export or download was completed");
  }
  DiskImageInfo info = {.format = "raw",
                        .wire_format = "RAW",
                        .virtual_size_bytes = size_bytes,
                        .stored_size_bytes = size_bytes};
  if (size_bytes % kSectorBytes != 0) {
    info.defects.push_back(fmt::format(
        "its size of {} bytes is not a whole number of sectors: it may be cut off", size_bytes));
  }
  return std::unique_ptr<DiskImage>(std::make_unique<RawImage>(std::move(source), std::move(info)));
}

}  // namespace vmferry::image::raw
