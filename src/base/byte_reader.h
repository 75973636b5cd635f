// SPDX-License-Identifier: Apache-2.0
//
// ByteReader: walks over bytes from outside without ever leaving them.
//
// A read past the end yields zero and sets failed(); parsers check once at the end of a structure.
// Integers name their byte order.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace vmferry {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// True when any read so far went past the end.
  bool failed() const { return failed_; }
  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  void Skip(std::size_t count) { Take(count); }
  std::uint8_t U8() { return static_cast<std::uint8_t>(Little(1)); }
  std::uint16_t U16Le() { return static_cast<std::uint16_t>(Little(2)); }
  std::uint32_t U32Le() { return static_cast<std::uint32_t>(Little(4)); }
  std::uint64_t U64Le() { return Little(8); }
  std::uint16_t U16Be() { return static_cast<std::uint16_t>(Big(2)); }
  std::uint32_t U32Be() { return static_cast<std::uint32_t>(Big(4)); }
  std::uint64_t U64Be() { return Big(8); }

  /// The next `count` bytes; an empty span when there are fewer.
  std::span<const std::byte> Take(std::size_t count) {
    if (count > remaining()) {
      failed_ = true;
      position_ = bytes_.size();
      return {};
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

 private:
  std::uint64_t Little(std::size_t count) {
    const auto taken = Take(count);
    std::uint64_t value = 0;
    for (std::size_t i = taken.size(); i > 0; --i) {
      value = (value << 8) | std::to_integer<std::uint64_t>(taken[i - 1]);
    }
    return value;
  }
  std::uint64_t Big(std::size_t count) {
    std::uint64_t value = 0;
    for (const std::byte byte : Take(count)) {
      value = (value << 8) | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
  bool failed_ = false;
};

/// The bytes of a string, for functions that take spans.
inline std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

/// The bytes of a span as text (they are not copied or checked).
inline std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace vmferry
