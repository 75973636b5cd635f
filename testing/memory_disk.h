// SPDX-License-Identifier: Apache-2.0
//
// MemoryDisk: a disk whose beginning is in memory and whose rest, up to any size, is zero. It
// counts what is read of it.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "image/disk_image.h"

namespace vmferry::testing {

class MemoryDisk final : public image::DiskImage {
 public:
  MemoryDisk(std::vector<std::byte> bytes, std::uint64_t size_bytes)
      : bytes_(std::move(bytes)), size_bytes_(size_bytes) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    if (offset_bytes > size_bytes_ || out.size() > size_bytes_ - offset_bytes) {
      return Error(ErrorCode::kOutOfRange, "image.read_past_end", "the range leaves the disk");
    }
    ++reads_;
    std::fill(out.begin(), out.end(), std::byte{0});
    if (offset_bytes >= bytes_.size()) return {};
    const auto begin = static_cast<std::size_t>(offset_bytes);
    const std::size_t count = std::min(out.size(), bytes_.size() - begin);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(begin), count, out.begin());
    return {};
  }

  Result<std::vector<image::Extent>> Extents(std::uint64_t offset_bytes,
                                             std::uint64_t length_bytes) const override {
    if (length_bytes == 0) return std::vector<image::Extent>();
    return std::vector<image::Extent>{{.offset_bytes = offset_bytes, .length_bytes = length_bytes}};
  }

  const image::DiskImageInfo& Info() const override { return info_; }

  std::size_t reads() const { return reads_; }

 private:
  const std::vector<std::byte> bytes_;
  const std::uint64_t size_bytes_;
  const image::DiskImageInfo info_;
  mutable std::atomic<std::size_t> reads_ = 0;
};

}  // namespace vmferry::testing
