// SPDX-License-Identifier: Apache-2.0
//
// How a stored file is cut into the parts of an import manifest, and how large the volume is that
// it becomes.

#pragma once

#include <cstdint>

#include "base/result.h"

namespace vmferry::transfer {

/// What Amazon's own tools use; the documentation's "10 MB". Source: aws-reference 1.2.
inline constexpr std::uint64_t kPartBytesMin = 10'485'760;
/// S3 multipart takes no more parts; manifests keep to the same number.
inline constexpr std::uint64_t kPartCountMax = 10'000;
/// A part is read into memory before it is sent; larger ones would break the memory budget.
inline constexpr std::uint64_t kPartBytesMax = std::uint64_t{128} << 20;

struct Piece {
  std::uint64_t number = 0;  ///< index from 0
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< > 0
};

class PiecePlan {
 public:
  /// Parts of max(10 MiB, stored size / 10,000 rounded up to a MiB), the last one shorter.
  /// Errors: kInvalidArgument transfer.empty; kUnimplemented transfer.too_large above 1.2 TiB.
  static Result<PiecePlan> Make(std::uint64_t stored_bytes);

  std::uint64_t count() const { return count_; }
  std::uint64_t stored_bytes() const { return stored_bytes_; }
  std::uint64_t part_bytes() const { return part_bytes_; }
  /// Pre: number < count().
  Piece At(std::uint64_t number) const;

 private:
  PiecePlan(std::uint64_t stored_bytes, std::uint64_t part_bytes, std::uint64_t count)
      : stored_bytes_(stored_bytes), part_bytes_(part_bytes), count_(count) {}

  std::uint64_t stored_bytes_;
  std::uint64_t part_bytes_;
  std::uint64_t count_;
};

/// Whole GiB that hold the virtual disk; at least 1.
std::uint64_t VolumeSizeGib(std::uint64_t virtual_size_bytes);

}  // namespace vmferry::transfer
