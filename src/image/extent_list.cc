// SPDX-License-Identifier: Apache-2.0
#include "image/extent_list.h"

#include <fmt/format.h>

namespace vmferry::image {

Result<void> CheckRange(std::uint64_t size_bytes, std::uint64_t offset_bytes,
                        std::uint64_t length_bytes) {
  if (offset_bytes <= size_bytes && length_bytes <= size_bytes - offset_bytes) return {};
  return Error(ErrorCode::kOutOfRange, "image.read_past_end",
               fmt::format("{} bytes at {} leave the disk of {} bytes", length_bytes, offset_bytes,
                           size_bytes))
      .With("offset_bytes", offset_bytes);
}

}  // namespace vmferry::image
