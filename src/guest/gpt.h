// SPDX-License-Identifier: Apache-2.0
//
// The GUID partition table: a header behind the MBR with its array of entries, and a copy of both
// at the end of the disk.
//
// Source: UEFI 2.10, section 5.3.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "guest/disk_reader.h"
#include "guest/guest_layout.h"

namespace vmferry::guest {

/// A header whose checksum is right and whose fields are possible.
struct GptHeader {
  std::uint64_t my_lba = 0;
  std::uint64_t alternate_lba = 0;
  std::uint64_t first_usable_lba = 0;
  std::uint64_t last_usable_lba = 0;
  std::uint64_t entries_lba = 0;
  std::uint32_t entry_count = 0;
  std::uint32_t entry_bytes = 0;
  std::uint32_t entries_crc = 0;
  std::string disk_guid;
};

/// Reads a header that lies at `lba`.
/// Errors: kDataLoss guest.gpt.*: signature, revision, header_size, header_crc, my_lba, usable,
///         entries.
Result<GptHeader> ParseGptHeader(std::span<const std::byte> sector, std::uint64_t lba);

struct GptTable {
  std::uint32_t sector_bytes = 512;
  std::string disk_guid;
  std::vector<Partition> partitions;
  bool from_copy = false;  ///< the one at the beginning is damaged or gone
};

/// The GPT of a disk with sectors of 512 or 4,096 bytes: the first one, or its copy when the first
/// is damaged. Nothing when there is neither. What is wrong goes to `defects`.
/// Errors: those of the disk.
Result<std::optional<GptTable>> ReadGpt(DiskReader& disk, std::vector<std::string>& defects);

}  // namespace vmferry::guest
