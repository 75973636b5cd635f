// SPDX-License-Identifier: Apache-2.0
//
// ExtentsDisk: a disk in memory whose extents are given; bytes of data are what a test puts there.

#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "image/disk_image.h"
#include "image/extent_list.h"

namespace vmferry::testing {

class ExtentsDisk final : public image::DiskImage {
 public:
  /// `extents` cover the disk in order. Data reads as `fill` where nothing else was put.
  explicit ExtentsDisk(std::vector<image::Extent> extents, std::byte fill = std::byte{1})
      : extents_(std::move(extents)), fill_(fill) {
    size_bytes_ =
        extents_.empty() ? 0 : extents_.back().offset_bytes + extents_.back().length_bytes;
  }

  /// Puts one byte, which shows where the disk has data.
  void Put(std::uint64_t offset_bytes, std::byte value) { bytes_[offset_bytes] = value; }

  /// Reads that touch this byte fail.
  void BreakAt(std::uint64_t offset_bytes) { broken_bytes_ = offset_bytes; }

  std::uint64_t SizeBytes() const override { return size_bytes_; }
  const image::DiskImageInfo& Info() const override { return info_; }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    VMFERRY_RETURN_IF_ERROR(image::CheckRange(size_bytes_, offset_bytes, out.size()));
    if (broken_bytes_ >= offset_bytes && broken_bytes_ - offset_bytes < out.size()) {
      return Error(ErrorCode::kUnavailable, "io.read_failed", "broken for the test");
    }
    std::memset(out.data(), 0, out.size());
    for (const image::Extent& extent : extents_) {
      if (extent.kind != image::ExtentKind::kData) continue;
      const std::uint64_t begin = std::max(extent.offset_bytes, offset_bytes);
      const std::uint64_t end =
          std::min(extent.offset_bytes + extent.length_bytes, offset_bytes + out.size());
      if (begin >= end) continue;
      std::memset(out.data() + (begin - offset_bytes), std::to_integer<int>(fill_), end - begin);
      for (auto put = bytes_.lower_bound(begin); put != bytes_.end() && put->first < end; ++put) {
        out[put->first - offset_bytes] = put->second;
      }
    }
    return {};
  }

  Result<std::vector<image::Extent>> Extents(std::uint64_t offset_bytes,
                                             std::uint64_t length_bytes) const override {
    VMFERRY_RETURN_IF_ERROR(image::CheckRange(size_bytes_, offset_bytes, length_bytes));
    std::vector<image::Extent> result;
    for (const image::Extent& extent : extents_) {
      const std::uint64_t begin = std::max(extent.offset_bytes, offset_bytes);
      const std::uint64_t end =
          std::min(extent.offset_bytes + extent.length_bytes, offset_bytes + length_bytes);
      if (begin < end) image::AppendExtent(result, {begin, end - begin, extent.kind});
    }
    return result;
  }

 private:
  const std::vector<image::Extent> extents_;
  const std::byte fill_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t broken_bytes_ = ~std::uint64_t{0};
  std::map<std::uint64_t, std::byte> bytes_;
  const image::DiskImageInfo info_;
};

}  // namespace vmferry::testing
