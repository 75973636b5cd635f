// SPDX-License-Identifier: Apache-2.0
//
// The master boot record: four partitions, and the chain of extended boot records behind one of
// them.
//
// Source: UEFI 2.10, section 5.2; "Partition types" (Andries Brouwer) for extended partitions.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "guest/disk_reader.h"
#include "guest/guest_layout.h"

namespace vmferry::guest {

/// One of the four entries of a boot record, as stored. Sectors have 512 bytes.
struct MbrEntry {
  std::uint8_t status = 0;
  std::uint8_t type = 0;
  std::uint32_t start_sectors = 0;
  std::uint32_t count_sectors = 0;

  bool empty() const { return type == 0 || count_sectors == 0; }
};

struct MbrTable {
  std::uint32_t signature = 0;
  std::array<MbrEntry, 4> entries;

  /// Is there the entry that keeps old programs away from a GPT?
  bool HasProtective() const;
};

/// The table in sector 0, or nothing: no boot signature, nothing in it, or an entry whose status is
/// neither 0 nor 0x80, which is how the code of a file system's boot sector looks.
std::optional<MbrTable> ParseMbr(std::span<const std::byte> sector);

/// The partitions of the table, logical ones included, in the order of their numbers. What is wrong
/// goes to `defects`.
/// Errors: those of the disk.
Result<std::vector<Partition>> ReadMbrPartitions(DiskReader& disk, const MbrTable& table,
                                                 std::vector<std::string>& defects);

}  // namespace vmferry::guest
