// SPDX-License-Identifier: Apache-2.0
//
// Header blocks for a tar archive that any program reads: ustar, and base-256 only for sizes that
// octal digits cannot tell.
//
// Specification: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "image/ova/tar.h"

namespace vmferry::image::ova {

/// The header of a regular file that anybody may read.
///
/// Pre: `name` has at most 100 bytes.
std::array<std::byte, kTarBlockBytes> MakeTarHeader(std::string_view name, std::uint64_t size_bytes,
                                                    std::uint64_t modified_s);

/// Bytes that fill the last block of a member.
constexpr std::uint64_t TarPaddingBytes(std::uint64_t size_bytes) {
  return (kTarBlockBytes - size_bytes % kTarBlockBytes) % kTarBlockBytes;
}

}  // namespace vmferry::image::ova
