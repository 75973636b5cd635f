// SPDX-License-Identifier: Apache-2.0
//
// The names a differencing VHD gives its parent: up to eight locators and a name in the header.

#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/vhd/dynamic_header.h"

namespace vmferry::image::vhd {

/// More than the longest path of Windows takes (32,767 characters of two bytes).
inline constexpr std::uint32_t kMaxLocatorBytes = 64 * 1024;

struct ParentNames {
  /// The best first: relative ones, which survive a move, before absolute ones.
  std::vector<std::string> names;
  /// Locators that were passed over, one sentence each.
  std::vector<std::string> defects;
};

/// Reads the locators. Those that make no sense are passed over: one good name is enough.
/// Errors: those of the source.
Result<ParentNames> ReadParentNames(const ByteSource& source, const DynamicHeader& header);

enum class ByteOrder { kLittle, kBig };

/// UTF-16 up to the first 0 as UTF-8; nothing when it is not UTF-16.
std::optional<std::string> FromUtf16(std::span<const std::byte> bytes, ByteOrder order);

/// The path in a "file:" URL, or what is no URL as it is; nothing when an escape is broken.
std::optional<std::string> PathOfFileUrl(std::string_view url);

}  // namespace vmferry::image::vhd
