// SPDX-License-Identifier: Apache-2.0
//
// GuestLayout: what a disk holds: its partition table, file systems, boot loaders, and with which
// firmware it starts. Values only; inspect.h makes them.
//
// All texts are UTF-8 without control characters, whatever the disk says.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmferry::guest {

enum class TableKind {
  kNone,
  kMbr,
  kGpt,
  kHybrid,  ///< a GPT whose MBR lists partitions beside the protective one
};

/// "none", "mbr", "gpt", "hybrid".
std::string_view TableKindName(TableKind kind);

/// A file system, or another thing that fills a partition (swap, LVM, RAID, encryption).
struct FileSystem {
  /// As blkid calls it: "ext4", "xfs", "ntfs", "vfat", "LVM2_member", "crypto_LUKS"...
  std::string kind;
  std::string label;  ///< empty when it has none or it is not looked for
  std::string uuid;   ///< as blkid writes it; empty when it has none or it is not looked for
  /// Facts for people, one sentence each: "it was not unmounted cleanly".
  std::vector<std::string> notes;
};

struct Partition {
  std::uint32_t index = 0;  ///< as Linux numbers it: MBR 1 to 4, logical from 5; GPT from 1
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< as the table says; may reach past the disk (a defect then)
  std::string type;                ///< "0x83", or the type GUID in lower case
  std::string type_name;           ///< "Linux"; empty when it is not known
  std::string name;                ///< GPT only
  std::string uuid;                ///< GPT: the partition's GUID; MBR: "a1b2c3d4-01"
  bool bootable = false;           ///< MBR: active; GPT: "legacy BIOS bootable"
  bool logical = false;            ///< inside an extended partition
  bool extended = false;           ///< only a frame around logical ones
  bool esp = false;                ///< EFI system partition
  std::optional<FileSystem> file_system;
};

struct BootLoader {
  std::string name;   ///< "GRUB 2", "Windows boot manager", "UEFI fallback loader (x86_64)"
  std::string where;  ///< "master boot record", "partition 1", "partition 1, \EFI\BOOT\BOOTX64.EFI"
};

/// With which firmware the disk starts, as far as its structures tell.
struct Firmware {
  bool bios = false;
  bool uefi_x86_64 = false;
  bool uefi_arm64 = false;
  /// Why, one sentence each; never empty.
  std::vector<std::string> reasons;

  bool uefi() const { return uefi_x86_64 || uefi_arm64; }
};

/// "BIOS", "UEFI", "BIOS and UEFI", "neither".
std::string_view FirmwareName(const Firmware& firmware);

struct GuestLayout {
  TableKind table = TableKind::kNone;
  /// GPT: the disk's GUID; MBR: its signature in hexadecimal. Empty without a table.
  std::string table_id;
  std::uint32_t sector_bytes = 512;  ///< what the table counts in
  std::vector<Partition> partitions;
  /// What the disk holds from its first byte on, when it has no table.
  std::optional<FileSystem> whole_disk;
  std::vector<BootLoader> boot_loaders;
  Firmware firmware;
  /// Worth knowing, nothing wrong; one sentence each.
  std::vector<std::string> findings;
  /// Wrong or damaged, one sentence each.
  std::vector<std::string> defects;
};

}  // namespace vmferry::guest
