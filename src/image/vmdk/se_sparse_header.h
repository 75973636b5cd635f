// SPDX-License-Identifier: Apache-2.0
//
// The headers of a seSparse extent: VMware's space-efficient sparse format, of VMs' snapshots on
// VMFS 6 and of disks beyond 2 TiB.
//
// VMware has not published the format; the facts here are those that QEMU's block/vmdk.c states.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"

namespace vmferry::image::vmdk {

inline constexpr std::size_t kSeHeaderBytes = 512;
inline constexpr std::uint64_t kSeMagic = 0x00000000cafebabe;
inline constexpr std::uint64_t kSeVolatileMagic = 0x00000000cafecafe;
inline constexpr std::uint64_t kSeVersion = 0x0000000200000001;
/// The only values any product writes.
inline constexpr std::uint64_t kSeGrainSectors = 8;
inline constexpr std::uint64_t kSeTableSectors = 64;
inline constexpr std::uint64_t kSeEntriesPerTable = kSeTableSectors * 512 / 8;

/// The constant header, at sector 0. A part of the file is an offset and a size in sectors.
struct SeSparseHeader {
  struct Part {
    std::uint64_t offset_sectors = 0;
    std::uint64_t sectors = 0;
  };

  std::uint64_t capacity_sectors = 0;
  Part volatile_header;
  Part journal_header;
  Part journal;
  Part directory;
  Part tables;
  Part free_bitmap;
  Part back_map;
  Part grains;
};

/// Errors: kDataLoss vmdk.se_sparse.truncated, .magic, .capacity, .layout, .reserved;
///         kUnimplemented vmdk.se_sparse.version, .grain_size, .flags.
Result<SeSparseHeader> ParseSeSparseHeader(std::span<const std::byte> bytes);

/// Checks the volatile header: that all its changes are in place.
///
/// Errors: kDataLoss vmdk.se_sparse.volatile_header; kFailedPrecondition vmdk.se_sparse.journal.
Result<void> CheckVolatileHeader(std::span<const std::byte> bytes);

}  // namespace vmferry::image::vmdk
