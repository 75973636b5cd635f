// SPDX-License-Identifier: Apache-2.0
//
// The metadata region: a table of items, each named by a GUID, and the items themselves.
//
// Source: [MS-VHDX] 2.6.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/vhdx/guid.h"
#include "image/vhdx/parent_locator.h"
#include "image/vhdx/region_table.h"

namespace vmferry::image::vhdx {

inline constexpr std::uint64_t kMaxDiskBytes = 64 * kTiB;  // [MS-VHDX] 2.6.2.2

struct Metadata {
  std::uint64_t size_bytes = 0;
  std::uint32_t block_bytes = 0;  ///< a power of two from 1 MiB to 256 MiB
  bool leave_blocks_allocated = false;
  bool has_parent = false;
  std::uint32_t logical_sector_bytes = 0;   ///< 512 or 4096
  std::uint32_t physical_sector_bytes = 0;  ///< 512 or 4096
  std::optional<Guid> page_83;
  std::optional<ParentLocator> parent;  ///< there when has_parent
  /// Optional items that are not known, the user's excepted.
  std::vector<std::string> unknown;
};

/// Errors: kDataLoss vhdx.metadata.signature, .count, .place, .overlap, .twice, .missing, .length,
///         vhdx.metadata.block_size, .disk_size, .sector_size; kUnimplemented
///         vhdx.metadata.unknown (a required item), vhdx.metadata.flags; those of
///         ParseParentLocator and of the source.
Result<Metadata> ReadMetadata(const ByteSource& source, const Region& region);

}  // namespace vmferry::image::vhdx
