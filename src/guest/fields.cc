// SPDX-License-Identifier: Apache-2.0
#include "guest/fields.h"

#include <algorithm>
#include <array>
#include <vector>

#include "codec/text_codec.h"

namespace vmferry::guest {
namespace {

/// Control characters (C0, DEL, C1) and what turns the direction of text would let a disk write to
/// the terminal of who inspects it.
bool IsHarmless(std::uint32_t code_point) {
  return code_point >= 0x20 && !(code_point >= 0x7f && code_point < 0xa0) &&
         !(code_point >= 0x202a && code_point <= 0x202e) &&
         !(code_point >= 0x2066 && code_point <= 0x2069);
}

void AppendUtf8(std::string& text, std::uint32_t code_point) {
  const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (!IsHarmless(code_point)) {
    put('?');
  } else if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3f));
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

/// RFC 3629: the code point that `text` begins with and its length; length 1 and '?' when it is
/// none.
struct Decoded {
  std::uint32_t code_point = '?';
  std::size_t length = 1;
};

Decoded DecodeUtf8(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {.code_point = first, .length = 1};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || text.size() < length) return {};
  std::uint32_t code_point = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code_point = code_point << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<std::uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code_point >= 0xd800 && code_point < 0xe000;
  if (code_point < kLeast[length] || code_point > 0x10ffff || surrogate) return {};
  return {.code_point = code_point, .length = length};
}

void TrimEnd(std::string& text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
}

std::string Group(std::span<const std::byte> bytes, bool reversed) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  if (reversed) std::reverse(copy.begin(), copy.end());
  return codec::HexEncode(copy);
}

std::string Identifier(std::span<const std::byte> bytes, bool little) {
  if (bytes.size() != 16) return "";
  return Group(bytes.subspan(0, 4), little) + '-' + Group(bytes.subspan(4, 2), little) + '-' +
         Group(bytes.subspan(6, 2), little) + '-' + Group(bytes.subspan(8, 2), false) + '-' +
         Group(bytes.subspan(10, 6), false);
}

}  // namespace

std::string Text(std::span<const std::byte> bytes) {
  std::string_view raw = AsText(bytes);
  raw = raw.substr(0, raw.find('\0'));
  std::string text;
  while (!raw.empty()) {
    const Decoded decoded = DecodeUtf8(raw);
    AppendUtf8(text, decoded.code_point);
    raw.remove_prefix(decoded.length);
  }
  TrimEnd(text);
  return text;
}

std::string Utf16Text(std::span<const std::byte> bytes) {
  std::string text;
  ByteReader reader(bytes);
  while (reader.remaining() >= 2) {
    std::uint32_t unit = reader.U16Le();
    if (unit == 0) break;
    if (unit >= 0xd800 && unit < 0xe000) {
      ByteReader ahead = reader;
      const std::uint32_t low = ahead.U16Le();
      const bool pair = unit < 0xdc00 && low >= 0xdc00 && low < 0xe000;
      unit = pair ? 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00) : std::uint32_t{'?'};
      if (pair) reader = ahead;
    }
    AppendUtf8(text, unit);
  }
  TrimEnd(text);
  return text;
}

std::string Uuid(std::span<const std::byte> bytes) { return Identifier(bytes, false); }
std::string Guid(std::span<const std::byte> bytes) { return Identifier(bytes, true); }

}  // namespace vmferry::guest
