// SPDX-License-Identifier: Apache-2.0
//
// ExtentWalk: all extents of a disk one after the other, in bounded memory and in time that grows
// with their number, not with the size of the disk.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"

namespace vmferry::image {

class ExtentWalk {
 public:
  /// Windows stay below this: what a window of a finely divided disk lists must fit in memory.
  static constexpr std::uint64_t kMaxWindowBytes = std::uint64_t{16} << 30;

  /// `disk` outlives the walk.
  explicit ExtentWalk(const DiskImage& disk) : disk_(disk) {}

  /// The next extent, as long as it gets: neighbours differ in kind. Nothing behind the last.
  /// Errors: those of DiskImage::Extents.
  Result<std::optional<Extent>> Next();

 private:
  /// Asks for the next window; false at the end of the disk.
  Result<bool> Fill();

  const DiskImage& disk_;
  std::uint64_t next_offset_bytes_ = 0;  // where the next window begins
  std::uint64_t window_bytes_ = std::uint64_t{1} << 30;
  std::vector<Extent> extents_;  // of the present window
  std::size_t next_ = 0;         // the first of them that was not looked at
};

}  // namespace vmferry::image
