// SPDX-License-Identifier: Apache-2.0
//
// BigEndianWriter: fills a structure of a VHD from front to back.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/byte_reader.h"
#include "base/check.h"

namespace vmferry::image::vhd {

class BigEndianWriter {
 public:
  explicit BigEndianWriter(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }

  void U8(std::uint8_t value) { Number(value, 1); }
  void U16(std::uint16_t value) { Number(value, 2); }
  void U32(std::uint32_t value) { Number(value, 4); }
  void U64(std::uint64_t value) { Number(value, 8); }
  void Text(std::string_view text) { Bytes(AsBytes(text)); }
  void Bytes(std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), Extend(bytes.size()).begin());
  }

 private:
  std::span<std::byte> Extend(std::size_t count) {
    VMFERRY_CHECK(count <= bytes_.size() - position_);
    position_ += count;
    return bytes_.subspan(position_ - count, count);
  }
  void Number(std::uint64_t value, std::size_t count) {
    const std::span<std::byte> to = Extend(count);
    for (std::size_t i = count; i > 0; --i) {
      to[i - 1] = static_cast<std::byte>(value & 0xff);
      value >>= 8;
    }
  }

  const std::span<std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace vmferry::image::vhd
