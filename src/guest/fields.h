// SPDX-License-Identifier: Apache-2.0
//
// Fields at fixed places of a structure, and the texts and identifiers that stand there. A place
// behind the end reads as zero or empty, so that a short structure matches no signature.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/byte_reader.h"

namespace vmferry::guest {

/// A reader that stands at `offset`.
inline ByteReader At(std::span<const std::byte> bytes, std::size_t offset) {
  ByteReader reader(bytes);
  reader.Skip(offset);
  return reader;
}
inline std::uint8_t U8(std::span<const std::byte> bytes, std::size_t offset) {
  return At(bytes, offset).U8();
}
inline std::uint16_t U16Le(std::span<const std::byte> bytes, std::size_t offset) {
  return At(bytes, offset).U16Le();
}
inline std::uint32_t U32Le(std::span<const std::byte> bytes, std::size_t offset) {
  return At(bytes, offset).U32Le();
}
inline std::uint64_t U64Le(std::span<const std::byte> bytes, std::size_t offset) {
  return At(bytes, offset).U64Le();
}
inline std::uint16_t U16Be(std::span<const std::byte> bytes, std::size_t offset) {
  return At(bytes, offset).U16Be();
}
/// `count` bytes, or none when they are not all there.
inline std::span<const std::byte> Slice(std::span<const std::byte> bytes, std::size_t offset,
                                        std::size_t count) {
  return At(bytes, offset).Take(count);
}
/// Do these characters stand there?
inline bool Says(std::span<const std::byte> bytes, std::size_t offset, std::string_view text) {
  return AsText(Slice(bytes, offset, text.size())) == text;
}
/// Do they stand anywhere?
inline bool Mentions(std::span<const std::byte> bytes, std::string_view text) {
  return AsText(bytes).find(text) != std::string_view::npos;
}

/// Text up to a zero byte, without blanks at its end: UTF-8, or '?' for each byte that is not; no
/// control characters.
std::string Text(std::span<const std::byte> bytes);
/// As Text, from UTF-16LE.
std::string Utf16Text(std::span<const std::byte> bytes);
/// 16 bytes in the order they are written in: "01234567-89ab-...". Empty for other lengths.
std::string Uuid(std::span<const std::byte> bytes);
/// The same for a Microsoft GUID: the first three groups are little-endian.
std::string Guid(std::span<const std::byte> bytes);

}  // namespace vmferry::guest
