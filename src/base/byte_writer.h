// SPDX-License-Identifier: Apache-2.0
//
// ByteWriter: fills bytes front to back with integers whose byte order is named. The counterpart of
// ByteReader, for what we write ourselves: leaving the bytes is a programming error.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"

namespace vmferry {

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }

  void U8(std::uint8_t value) { Little(value, 1); }
  void U16Le(std::uint16_t value) { Little(value, 2); }
  void U32Le(std::uint32_t value) { Little(value, 4); }
  void U64Le(std::uint64_t value) { Little(value, 8); }
  void U16Be(std::uint16_t value) { Big(value, 2); }
  void U32Be(std::uint32_t value) { Big(value, 4); }
  void U64Be(std::uint64_t value) { Big(value, 8); }

  void Put(std::span<const std::byte> data) {
    const std::span<std::byte> to = Take(data.size());
    if (!data.empty()) std::memcpy(to.data(), data.data(), data.size());
  }
  /// Leaves `count` bytes as they are.
  void Skip(std::size_t count) { Take(count); }

 private:
  std::span<std::byte> Take(std::size_t count) {
    VMFERRY_CHECK(count <= bytes_.size() - position_);
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  void Little(std::uint64_t value, std::size_t count) {
    for (std::byte& byte : Take(count)) {
      byte = static_cast<std::byte>(value & 0xff);
      value >>= 8;
    }
  }
  void Big(std::uint64_t value, std::size_t count) {
    const std::span<std::byte> to = Take(count);
    for (std::size_t i = count; i > 0; --i) {
      to[i - 1] = static_cast<std::byte>(value & 0xff);
      value >>= 8;
    }
  }

  std::span<std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace vmferry
