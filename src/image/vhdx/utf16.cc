// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/utf16.h"

#include <cstdint>

#include "base/byte_reader.h"

namespace vmferry::image::vhdx {
namespace {

void AppendUtf8(std::string& text, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

bool IsHighSurrogate(std::uint32_t unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool IsLowSurrogate(std::uint32_t unit) { return unit >= 0xdc00 && unit < 0xe000; }

}  // namespace

std::optional<std::string> Utf16ToUtf8(std::span<const std::byte> bytes) {
  if (bytes.size() % 2 != 0) return std::nullopt;
  ByteReader reader(bytes);
  std::string text;
  while (reader.remaining() > 0) {
    std::uint32_t code = reader.U16Le();
    if (code == 0) break;
    if (IsLowSurrogate(code)) return std::nullopt;
    if (IsHighSurrogate(code)) {
      const std::uint32_t low = reader.U16Le();
      if (!IsLowSurrogate(low)) return std::nullopt;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(text, code);
  }
  return text;
}

}  // namespace vmferry::image::vhdx
