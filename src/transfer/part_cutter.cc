// SPDX-License-Identifier: Apache-2.0
#include "transfer/part_cutter.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "image/extent_list.h"

namespace vmferry::transfer {
namespace {

constexpr std::uint64_t kWindowBytesMin = 64 * kMiB;
constexpr std::uint64_t kWindowBytesMax = 16 * kGiB;  // as ExtentWalk's
/// With more extents than this, be they all zeros and holes, a window is not followed by a longer
/// one: the list of the next must fit in memory.
constexpr std::size_t kFewExtents = 256;

std::uint64_t End(const image::Extent& extent) { return extent.offset_bytes + extent.length_bytes; }

}  // namespace

PartCutter::PartCutter(const image::DiskImage& disk, std::uint64_t unit_bytes,
                       std::uint64_t part_bytes, std::uint64_t begin_bytes)
    : disk_(disk),
      unit_bytes_(unit_bytes),
      part_bytes_(part_bytes),
      at_bytes_(begin_bytes),
      window_end_bytes_(begin_bytes),
      window_bytes_(DivCeil(kWindowBytesMin, part_bytes) * part_bytes) {
  VMFERRY_CHECK(unit_bytes > 0 && part_bytes > 0 && part_bytes % unit_bytes == 0 &&
                (begin_bytes % unit_bytes == 0 || begin_bytes >= disk.SizeBytes()));
}

Result<bool> PartCutter::LoadWindow() {
  at_bytes_ = window_end_bytes_;
  if (at_bytes_ >= disk_.SizeBytes()) return false;
  const std::uint64_t shortest = DivCeil(kWindowBytesMin, part_bytes_) * part_bytes_;
  const std::uint64_t left_bytes = disk_.SizeBytes() - at_bytes_;
  std::uint64_t length_bytes = std::min(window_bytes_, left_bytes);
  VMFERRY_ASSIGN_OR_RETURN(extents_, disk_.Extents(at_bytes_, length_bytes));
  if (image::EndOf(extents_, at_bytes_) < at_bytes_ + length_bytes) {
    // Too many extents for a long stride. A window ends where a part does.
    length_bytes = std::min(shortest, left_bytes);
    VMFERRY_ASSIGN_OR_RETURN(extents_, image::WholeExtents(disk_, at_bytes_, length_bytes));
  }
  window_end_bytes_ = at_bytes_ + length_bytes;
  next_extent_ = 0;
  // Long holes are looked over in long strides; a stride into data costs its list of extents.
  const bool found = std::any_of(extents_.begin(), extents_.end(), [](const image::Extent& extent) {
    return extent.kind == image::ExtentKind::kData;
  });
  window_bytes_ = found || extents_.size() > kFewExtents
                      ? shortest
                      : std::min(window_bytes_ * 2, std::max(shortest, kWindowBytesMax));
  window_bytes_ = window_bytes_ / part_bytes_ * part_bytes_;
  return true;
}

image::GuestPart PartCutter::Cut(std::uint64_t begin_bytes, std::uint64_t end_bytes) const {
  image::GuestPart part = {.offset_bytes = begin_bytes, .length_bytes = end_bytes - begin_bytes};
  for (std::size_t i = next_extent_; i < extents_.size(); ++i) {
    const image::Extent& extent = extents_[i];
    const std::uint64_t from = std::max(extent.offset_bytes, begin_bytes);
    const std::uint64_t to = std::min(End(extent), end_bytes);
    if (from >= end_bytes) break;
    if (from < to) part.extents.push_back({from, to - from, extent.kind});
  }
  return part;
}

Result<std::optional<image::GuestPart>> PartCutter::Next() {
  while (true) {
    while (next_extent_ < extents_.size() &&
           (End(extents_[next_extent_]) <= at_bytes_ ||
            extents_[next_extent_].kind != image::ExtentKind::kData)) {
      ++next_extent_;
    }
    if (next_extent_ == extents_.size()) {
      extents_.clear();
      next_extent_ = 0;
      VMFERRY_ASSIGN_OR_RETURN(const bool more, LoadWindow());
      if (!more) return std::optional<image::GuestPart>();
      continue;
    }
    const std::uint64_t first_data = std::max(extents_[next_extent_].offset_bytes, at_bytes_);
    const std::uint64_t begin_bytes = first_data / unit_bytes_ * unit_bytes_;
    std::uint64_t end_bytes = std::min(begin_bytes + part_bytes_, window_end_bytes_);
    // What follows the last data is not encoded.
    std::uint64_t last_data = begin_bytes;
    for (std::size_t i = next_extent_; i < extents_.size(); ++i) {
      if (extents_[i].offset_bytes >= end_bytes) break;
      if (extents_[i].kind == image::ExtentKind::kData) {
        last_data = End(extents_[i]);
      } else if (extents_[i].length_bytes >= 2 * unit_bytes_) {
        break;  // holds a whole unit of nothing: what is behind it is a part of its own
      }
    }
    end_bytes = std::min(end_bytes, DivCeil(last_data, unit_bytes_) * unit_bytes_);
    // A unit begins in front of its first data, perhaps in an extent that was passed over.
    while (next_extent_ > 0 && extents_[next_extent_].offset_bytes > begin_bytes) --next_extent_;
    image::GuestPart part = Cut(begin_bytes, end_bytes);
    at_bytes_ = end_bytes;
    return std::optional(std::move(part));
  }
}

}  // namespace vmferry::transfer
