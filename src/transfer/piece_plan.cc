// SPDX-License-Identifier: Apache-2.0
#include "transfer/piece_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace vmferry::transfer {

Result<PiecePlan> PiecePlan::Make(std::uint64_t stored_bytes) {
  if (stored_bytes == 0) {
    return Error(ErrorCode::kInvalidArgument, "transfer.empty", "the source holds no bytes");
  }
  const std::uint64_t wanted = DivCeil(DivCeil(stored_bytes, kPartCountMax), kMiB) * kMiB;
  const std::uint64_t part_bytes = std::max(kPartBytesMin, wanted);
  if (part_bytes > kPartBytesMax) {
    return Error(ErrorCode::kUnimplemented, "transfer.too_large",
                 fmt::format("the stored file has {}, more than {} parts of {} can carry",
                             FormatSize(stored_bytes), kPartCountMax, FormatSize(kPartBytesMax)))
        .WithRemedy("store the disk as stream-optimised VMDK, which is smaller");
  }
  return PiecePlan(stored_bytes, part_bytes, DivCeil(stored_bytes, part_bytes));
}

Piece PiecePlan::At(std::uint64_t number) const {
  VMFERRY_CHECK(number < count_);
  const std::uint64_t offset_bytes = number * part_bytes_;
  return {.number = number,
          .offset_bytes = offset_bytes,
          .length_bytes = std::min(part_bytes_, stored_bytes_ - offset_bytes)};
}

std::uint64_t VolumeSizeGib(std::uint64_t virtual_size_bytes) {
  return std::max<std::uint64_t>(1, DivCeil(virtual_size_bytes, kGiB));
}

}  // namespace vmferry::transfer
