// SPDX-License-Identifier: Apache-2.0
//
// Text in VHDX is UTF-16, little-endian.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace vmferry::image::vhdx {

/// As UTF-8, up to the first zero. Nothing for an odd number of bytes or an unpaired surrogate.
std::optional<std::string> Utf16ToUtf8(std::span<const std::byte> bytes);

}  // namespace vmferry::image::vhdx
