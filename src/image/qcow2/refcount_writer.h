// SPDX-License-Identifier: Apache-2.0
//
// RefcountWriter: counts how often each cluster of a file that is being written is referred to, and
// gives out refcount blocks once they are complete.
//
// Only two blocks are held: clusters are counted in about the order in which they are written.
// Specification: QEMU's docs/interop/qcow2.txt, "Host cluster management".

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/units.h"

namespace vmferry::image::qcow2 {

inline constexpr std::uint64_t kWrittenClusterBytes = 64 * kKiB;
/// 16-bit refcounts.
inline constexpr std::uint64_t kCountsPerBlock = kWrittenClusterBytes / 2;

class RefcountWriter {
 public:
  RefcountWriter();

  /// Counts one reference to each of the clusters that the bytes lie in.
  /// Pre: none of them is before the oldest block that was not yet taken, or behind the next one.
  void Add(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  /// True when nothing can be added to the oldest block any more, the file being that long.
  bool IsComplete(std::uint64_t file_bytes) const {
    return file_bytes / kWrittenClusterBytes >= (oldest_ + 1) * kCountsPerBlock;
  }
  /// Blocks that were taken.
  std::uint64_t taken() const { return oldest_; }

  /// The oldest block as it is stored, a cluster long; the next one becomes the oldest.
  std::vector<std::byte> TakeBlock();

 private:
  std::uint64_t oldest_ = 0;
  std::array<std::vector<std::uint16_t>, 2> counts_;
};

}  // namespace vmferry::image::qcow2
