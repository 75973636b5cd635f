// SPDX-License-Identifier: Apache-2.0
//
// The header of a COWD extent: ESX's sparse format, of VMs' snapshots on VMFS (vmfsSparse).
//
// Specification: VMware "Virtual Disk Format 5.0", section "ESX Server Sparse Extents".

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace vmferry::image::vmdk {

inline constexpr std::size_t kCowHeaderBytes = 2048;
inline constexpr std::uint64_t kCowHeaderSectors = 4;
inline constexpr std::uint32_t kCowMagic = 0x44574f43;  // "COWD" on disk
/// The specification's constant.
inline constexpr std::uint64_t kCowEntriesPerTable = 4096;

/// In host order. Each field was checked by itself and against the others, but not against the
/// size of the file.
struct CowHeader {
  std::uint64_t capacity_sectors = 0;
  std::uint64_t grain_sectors = 0;
  std::uint64_t directory_offset_sectors = 0;
  std::uint64_t free_sector = 0;  ///< behind the last one in use
  bool inconsistent = false;
  bool unclean_shutdown = false;
};

/// Errors: kDataLoss vmdk.cow.truncated, .magic, .capacity, .grain_size, .directory;
///         kUnimplemented vmdk.cow.version.
Result<CowHeader> ParseCowHeader(std::span<const std::byte> bytes);

}  // namespace vmferry::image::vmdk
