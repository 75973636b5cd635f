// SPDX-License-Identifier: Apache-2.0
//
// Partition tables as the import service looks at them: what there is, and whether the disk could
// start by BIOS. Written by strangers: bounded, checked, and nothing behind the tables is read.
//
// Source: UEFI Specification 2.10, sections 5.2 (MBR) and 5.3 (GPT).

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::region {

struct DiskPartition {
  std::string name;  ///< GRUB's: "msdos1", "gpt2"
  std::uint64_t start_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool efi_system = false;
  bool bios_boot = false;  ///< GPT: room for GRUB's core image
  bool lvm = false;
};

enum class TableKind { kNone, kMbr, kGpt };

struct PartitionTable {
  TableKind kind = TableKind::kNone;
  bool boot_code = false;  ///< the first sector holds code
  std::vector<DiskPartition> partitions;
};

/// A disk without a usable table is kNone. Errors: those of sys::File.
Result<PartitionTable> ReadPartitions(const sys::File& disk);

}  // namespace vmferry::region
