// SPDX-License-Identifier: Apache-2.0
//
// PartCutter: walks over a disk and cuts what holds data into the parts that encoders take.
//
// Holes and written zeros are passed over: every format we write reads them back as zeros.

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "image/encoder.h"

namespace vmferry::transfer {

class PartCutter {
 public:
  /// `disk` is borrowed for the cutter's life. `part_bytes` is a multiple of `unit_bytes`; the walk
  /// begins at `begin_bytes`, a multiple of `unit_bytes` as well, or the end of the disk.
  PartCutter(const image::DiskImage& disk, std::uint64_t unit_bytes, std::uint64_t part_bytes,
             std::uint64_t begin_bytes);

  /// The next part with data, or nothing behind the last one.
  ///
  /// Cost:   extents of a window that grows while it finds nothing, from 64 MiB to 16 GiB.
  /// Errors: those of DiskImage::Extents.
  Result<std::optional<image::GuestPart>> Next();

 private:
  Result<bool> LoadWindow();
  image::GuestPart Cut(std::uint64_t begin_bytes, std::uint64_t end_bytes) const;

  const image::DiskImage& disk_;
  const std::uint64_t unit_bytes_;
  const std::uint64_t part_bytes_;
  std::uint64_t at_bytes_;  ///< everything in front of it was cut; whole units
  std::uint64_t window_end_bytes_;
  std::uint64_t window_bytes_;
  std::vector<image::Extent> extents_;  ///< of the window
  std::size_t next_extent_ = 0;         ///< the first that ends behind at_bytes_
};

}  // namespace vmferry::transfer
