// SPDX-License-Identifier: Apache-2.0
//
// The header of dynamic and differencing VHDs: block size, where the block allocation table is, and
// what the parent is.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "image/vhd/footer.h"

namespace vmferry::image::vhd {

inline constexpr std::size_t kDynamicHeaderBytes = 1024;
inline constexpr std::size_t kParentNameBytes = 512;
inline constexpr std::uint32_t kDefaultBlockBytes = 2 * kMiB;
inline constexpr std::uint32_t kMinBlockBytes = 4096;

/// Where a name of the parent is stored.
struct LocatorEntry {
  std::array<char, 4> platform = {};
  std::uint32_t length_bytes = 0;
  std::uint64_t offset_bytes = 0;
};

struct DynamicHeader {
  std::uint64_t table_offset_bytes = 0;
  std::uint32_t table_entries = 0;
  std::uint32_t block_bytes = kDefaultBlockBytes;
  UniqueId parent_id = {};
  std::array<std::byte, kParentNameBytes> parent_name = {};  ///< UTF-16BE, ended by 0
  std::vector<LocatorEntry> locators;                        ///< those that name a platform

  /// Sectors in front of each block that tell which of its sectors are there.
  std::uint64_t bitmap_bytes() const {
    return DivCeil(DivCeil(block_bytes / kSectorBytes, 8), kSectorBytes) * kSectorBytes;
  }
};

/// Reads the header and checks it by itself.
///
/// Errors: kDataLoss vhd.dynamic_header.cookie, .checksum, .block_size; kUnimplemented .version.
Result<DynamicHeader> ParseDynamicHeader(std::span<const std::byte> bytes);

/// The header of a disk without parent as it is stored, its checksum filled in.
std::array<std::byte, kDynamicHeaderBytes> StoreDynamicHeader(const DynamicHeader& header);

}  // namespace vmferry::image::vhd
