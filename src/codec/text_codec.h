// SPDX-License-Identifier: Apache-2.0
//
// Bytes as text: hexadecimal and base64 (RFC 4648 section 4).

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vmferry::codec {

/// Lower-case hexadecimal.
std::string HexEncode(std::span<const std::byte> bytes);
/// Either case; nothing when the text is not hexadecimal.
std::optional<std::vector<std::byte>> HexDecode(std::string_view text);

/// With padding.
std::string Base64Encode(std::span<const std::byte> bytes);
/// Strict: padding required, no blanks, no stray bits; nothing otherwise.
std::optional<std::vector<std::byte>> Base64Decode(std::string_view text);

}  // namespace vmferry::codec
