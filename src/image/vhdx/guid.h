// SPDX-License-Identifier: Apache-2.0
//
// Guid: what VHDX names its structures by. Its first three fields are stored little-endian.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/byte_reader.h"

namespace vmferry::image::vhdx {

inline constexpr std::size_t kGuidBytes = 16;

/// Where each byte of the text lies in what is stored.
inline constexpr std::array<std::uint8_t, kGuidBytes> kGuidOrder = {3, 2, 1,  0,  5,  4,  7,  6,
                                                                    8, 9, 10, 11, 12, 13, 14, 15};

struct Guid {
  std::array<std::uint8_t, kGuidBytes> bytes = {};  ///< as stored

  bool operator==(const Guid&) const = default;
  bool IsZero() const { return *this == Guid(); }
};

/// "2dc27766-f623-4200-9d64-115e9bfd4a08", lower case; for constants of the specification.
consteval Guid MakeGuid(std::string_view text) {
  Guid guid;
  std::size_t nibble = 0;
  for (const char c : text) {
    if (c == '-') continue;
    const int value = c <= '9' ? c - '0' : c - 'a' + 10;
    std::uint8_t& byte = guid.bytes[kGuidOrder[nibble / 2]];
    byte = static_cast<std::uint8_t>(byte << 4 | value);
    ++nibble;
  }
  return guid;
}

/// Zero when the bytes end before.
inline Guid ReadGuid(ByteReader& reader) {
  Guid guid;
  std::transform(guid.bytes.begin(), guid.bytes.end(), guid.bytes.begin(),
                 [&](std::uint8_t) { return reader.U8(); });
  return guid;
}

/// Lower case, without braces.
std::string GuidText(const Guid& guid);

}  // namespace vmferry::image::vhdx
