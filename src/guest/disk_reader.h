// SPDX-License-Identifier: Apache-2.0
//
// DiskReader: looks at places of a disk, a limited number of times.
//
// Thread safety: one thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"

namespace vmferry::guest {

using Bytes = std::vector<std::byte>;

class DiskReader {
 public:
  /// What one inspection may cost: an honest disk needs a tenth of it.
  static constexpr std::size_t kMaxReads = 600;
  static constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

  explicit DiskReader(const image::DiskImage& disk) : disk_(disk) {}

  std::uint64_t SizeBytes() const { return disk_.SizeBytes(); }

  /// The bytes at a place; fewer or none where the disk ends, none when the limit is reached.
  Result<Bytes> Read(std::uint64_t offset_bytes, std::size_t length_bytes);

  /// True when something was left unread because of the limit.
  bool exhausted() const { return exhausted_; }
  std::size_t reads() const { return reads_; }

 private:
  const image::DiskImage& disk_;
  std::size_t reads_ = 0;
  std::size_t bytes_ = 0;
  bool exhausted_ = false;
};

}  // namespace vmferry::guest
