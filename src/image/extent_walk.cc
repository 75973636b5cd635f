// SPDX-License-Identifier: Apache-2.0
#include "image/extent_walk.h"

#include <algorithm>

#include "base/units.h"
#include "image/extent_list.h"

namespace vmferry::image {
namespace {

constexpr std::uint64_t kMinWindowBytes = 64 * kMiB;
/// Fewer extents than this: the next window may be larger.
constexpr std::size_t kFewExtents = 256;
/// More than this: it must be smaller.
constexpr std::size_t kManyExtents = 8192;

}  // namespace

Result<bool> ExtentWalk::Fill() {
  if (next_offset_bytes_ >= disk_.SizeBytes()) return false;
  const std::uint64_t length_bytes =
      std::min(window_bytes_, disk_.SizeBytes() - next_offset_bytes_);
  VMFERRY_ASSIGN_OR_RETURN(extents_, disk_.Extents(next_offset_bytes_, length_bytes));
  next_ = 0;
  next_offset_bytes_ = EndOf(extents_, next_offset_bytes_);
  if (extents_.size() < kFewExtents) {
    window_bytes_ = std::min(window_bytes_ * 4, kMaxWindowBytes);
  } else if (extents_.size() > kManyExtents) {
    window_bytes_ = std::max(window_bytes_ / 4, kMinWindowBytes);
  }
  return true;
}

Result<std::optional<Extent>> ExtentWalk::Next() {
  std::optional<Extent> current;
  while (true) {
    while (next_ < extents_.size()) {
      const Extent& extent = extents_[next_];
      if (current && current->kind != extent.kind) return current;
      if (current) {
        current->length_bytes += extent.length_bytes;
      } else {
        current = extent;
      }
      ++next_;
    }
    VMFERRY_ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) return current;
  }
}

}  // namespace vmferry::image
