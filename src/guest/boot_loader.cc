// SPDX-License-Identifier: Apache-2.0
#include "guest/boot_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/units.h"
#include "guest/fat.h"
#include "guest/fields.h"
#include "guest/partition_types.h"

namespace vmferry::guest {
namespace {

using View = std::span<const std::byte>;

/// The code in front of the partition table.
constexpr std::size_t kCodeBytes = 440;
constexpr std::size_t kBootSignatureAt = 510;
/// Boot sectors of FAT32 and NTFS go on behind the first sector.
constexpr std::size_t kVolumeBootBytes = 8192;
/// A disk has one EFI system partition; a few more are looked into.
constexpr int kMaxSystemPartitions = 4;

/// What a boot sector does.
enum class BootRole {
  kNone,     ///< no code, or code that only says that it cannot boot
  kLoader,   ///< loads a system by itself
  kChain,    ///< starts the active partition's boot sector
  kUnknown,  ///< code of an unknown maker
};

struct BootCode {
  BootRole role = BootRole::kNone;
  std::string name;
};

/// The code in a sector that a BIOS would start, by the texts its makers put into it.
BootCode RecogniseCode(View sector) {
  if (U16Le(sector, kBootSignatureAt) != 0xaa55) return {};
  const View code = sector.first(std::min(sector.size(), kCodeBytes));
  // The code stands behind what describes a volume (at most 120 bytes); a formatter that puts none
  // there leaves zeros, or F4h (halt) after the exFAT specification, 3.1.18.
  constexpr std::size_t kVolumeBytes = 120;
  if (code.size() < kCodeBytes) return {};
  const View behind = code.subspan(kVolumeBytes);
  const bool empty = std::all_of(behind.begin(), behind.end(), [](std::byte byte) {
    return byte == std::byte{0} || byte == std::byte{0xf4};
  });
  if (empty) return {};
  struct Mark {
    std::string_view text;
    BootRole role;
    std::string_view name;
  };
  // In this order: what a loader contains of another's text comes first.
  constexpr Mark kMarks[] = {
      {"isolinux.bin missing", BootRole::kLoader, "isolinux (hybrid)"},
      {"GRUB", BootRole::kLoader, "GRUB"},
      {"LILO", BootRole::kLoader, "LILO"},
      {"not a bootable disk", BootRole::kNone, ""},
      {"BOOTMGR", BootRole::kLoader, "Windows boot manager (BOOTMGR)"},
      {"NTLDR", BootRole::kLoader, "Windows loader (NTLDR)"},
      {"EXTLINUX", BootRole::kLoader, "EXTLINUX"},
      {"SYSLINUX", BootRole::kLoader, "SYSLINUX"},
      {"Missing operating system", BootRole::kChain, "boot code that starts the active partition"},
      {"Missing OS", BootRole::kChain, "boot code that starts the active partition (SYSLINUX)"},
      {"Error loading operating system", BootRole::kChain,
       "boot code that starts the active partition (Windows)"},
  };
  const View whole = sector.first(kBootSignatureAt);
  for (const Mark& mark : kMarks) {
    if (Mentions(whole, mark.text)) return {.role = mark.role, .name = std::string(mark.name)};
  }
  return {.role = BootRole::kUnknown, .name = "unknown boot code"};
}

std::string PartitionName(const Partition& partition) {
  return fmt::format("partition {}", partition.index);
}

class Finder {
 public:
  Finder(DiskReader& disk, GuestLayout& layout) : disk_(disk), layout_(layout) {}

  Result<void> Bios(View sector);
  Result<void> Uefi();

 private:
  void Reason(std::string reason) { layout_.firmware.reasons.push_back(std::move(reason)); }
  void Add(std::string name, std::string where) {
    layout_.boot_loaders.push_back({.name = std::move(name), .where = std::move(where)});
  }
  Result<void> Grub(View sector);
  Result<void> Chain(const BootCode& code);
  Result<bool> ActivePartition(const Partition& partition);
  Result<bool> ElTorito();
  Result<void> SystemPartition(const Partition& partition);

  DiskReader& disk_;
  GuestLayout& layout_;
};

Result<void> Finder::Bios(View sector) {
  const BootCode code = RecogniseCode(sector);
  switch (code.role) {
    case BootRole::kLoader:
      if (code.name == "GRUB") return Grub(sector);
      Add(code.name, "first sector");
      layout_.firmware.bios = true;
      Reason(fmt::format("BIOS: the first sector holds {}", code.name));
      return {};
    case BootRole::kChain:
    case BootRole::kUnknown:
      return Chain(code);
    case BootRole::kNone:
      break;
  }
  if (layout_.whole_disk && layout_.whole_disk->kind == "iso9660") {
    VMFERRY_ASSIGN_OR_RETURN(const bool found, ElTorito());
    if (found) return {};
  }
  Reason("not BIOS: the first sector holds no boot code");
  return {};
}

/// GRUB's boot.img names the sector of core.img at byte 0x5c; core.img begins with diskboot.img,
/// which says "loading". (GRUB manual, "Images".) GRUB Legacy has its stage 1 version 3.x at 0x3e.
Result<void> Finder::Grub(View sector) {
  if (U8(sector, 0x3e) == 3 && Mentions(sector, "Geom") && U64Le(sector, 0x5c) == 0) {
    Add("GRUB Legacy", "first sector");
    layout_.firmware.bios = true;
    Reason("BIOS: the first sector holds GRUB Legacy");
    return {};
  }
  const std::uint64_t core_sector = U64Le(sector, 0x5c);
  const auto core_at = SectorsToBytes(core_sector);
  Bytes core;
  if (core_at && core_sector != 0) {
    VMFERRY_ASSIGN_OR_RETURN(core, disk_.Read(*core_at, kSectorBytes));
  }
  if (!Mentions(core, "loading")) {
    layout_.defects.push_back(fmt::format(
        "GRUB's boot sector names sector {} as its core image, which is none", core_sector));
    Reason("not BIOS: the first sector holds GRUB, but its core image is missing");
    return {};
  }
  Add("GRUB 2", fmt::format("first sector, core image from sector {} on", core_sector));
  layout_.firmware.bios = true;
  Reason("BIOS: the first sector holds GRUB 2 and its core image is there");
  return {};
}

Result<bool> Finder::ActivePartition(const Partition& partition) {
  VMFERRY_ASSIGN_OR_RETURN(const Bytes boot, disk_.Read(partition.offset_bytes, kVolumeBootBytes));
  BootCode code = RecogniseCode(boot);
  if (code.role == BootRole::kUnknown) {
    // FAT32 and NTFS name their loader in the sectors behind.
    const bool manager = Mentions(boot, "BOOTMGR");
    if (manager || Mentions(boot, "NTLDR")) {
      code.name = manager ? "Windows boot manager (BOOTMGR)" : "Windows loader (NTLDR)";
    }
  }
  if (code.role == BootRole::kNone) {
    Reason(fmt::format("not BIOS: {} is active but its boot sector does not start anything",
                       PartitionName(partition)));
    return false;
  }
  Add(code.name, PartitionName(partition));
  Reason(fmt::format("BIOS: the first sector starts {}, which is active and holds {}",
                     PartitionName(partition), code.name));
  return true;
}

Result<void> Finder::Chain(const BootCode& code) {
  Add(code.name, "first sector");
  for (const Partition& partition : layout_.partitions) {
    if (!partition.bootable) continue;
    VMFERRY_ASSIGN_OR_RETURN(layout_.firmware.bios, ActivePartition(partition));
    return {};
  }
  if (code.role == BootRole::kUnknown) {
    layout_.firmware.bios = true;
    Reason("BIOS, probably: the first sector holds boot code that is not known");
    return {};
  }
  Reason("not BIOS: the first sector starts the active partition, and none is active");
  return {};
}

/// "El Torito" Bootable CD-ROM Format Specification 1.0: the boot record volume descriptor is in
/// sector 17 of 2,048 bytes and names the sector of the catalogue.
Result<bool> Finder::ElTorito() {
  constexpr std::uint64_t kCdSectorBytes = 2048;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes record, disk_.Read(17 * kCdSectorBytes, kCdSectorBytes));
  if (!Says(record, 1, "CD001") || !Says(record, 7, "EL TORITO SPECIFICATION")) return false;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes catalogue,
                           disk_.Read(U32Le(record, 71) * kCdSectorBytes, kCdSectorBytes));
  // The validation entry: 1, platform (0: x86, 0xef: EFI), key 55 aa; the default entry behind it
  // is bootable when it begins with 0x88.
  if (U8(catalogue, 0) != 1 || U16Le(catalogue, 30) != 0xaa55 || U8(catalogue, 32) != 0x88) {
    return false;
  }
  Add("El Torito boot catalogue", "CD-ROM");
  layout_.findings.emplace_back("the disk is a bootable CD-ROM: it starts as such, not as a disk");
  return false;
}

struct Fallback {
  std::string_view stored_name;
  std::string_view name;
  std::string_view machine;
  std::uint16_t pe_machine;
};
// UEFI 2.10, 3.5.1.1: the file names of removable media; PE/COFF: the machine types.
constexpr std::array<Fallback, 2> kFallbacks = {{{"BOOTX64 EFI", "BOOTX64.EFI", "x86_64", 0x8664},
                                                 {"BOOTAA64EFI", "BOOTAA64.EFI", "arm64", 0xaa64}}};

/// Is this the beginning of a program for that machine?
bool IsEfiProgram(View start, std::uint16_t machine) {
  const std::size_t header = U32Le(start, 0x3c);
  return Says(start, 0, "MZ") && Says(start, header, std::string_view("PE\0\0", 4)) &&
         U16Le(start, header + 4) == machine;
}

Result<void> Finder::SystemPartition(const Partition& partition) {
  const std::string where = PartitionName(partition);
  VMFERRY_ASSIGN_OR_RETURN(const Bytes boot, disk_.Read(partition.offset_bytes, kSectorBytes));
  const auto volume = ParseFat(boot);
  if (!volume) {
    Reason(fmt::format("not UEFI: {} is an EFI system partition, but holds no FAT file system",
                       where));
    return {};
  }
  bool any = false;
  for (const Fallback& fallback : kFallbacks) {
    const std::array<std::string_view, 3> path = {"EFI        ", "BOOT       ",
                                                  fallback.stored_name};
    VMFERRY_ASSIGN_OR_RETURN(const auto file,
                             FindFatFile(disk_, partition.offset_bytes, *volume, path));
    if (!file) continue;
    VMFERRY_ASSIGN_OR_RETURN(const Bytes start,
                             ReadFatFileStart(disk_, partition.offset_bytes, *volume, *file, 4096));
    if (!IsEfiProgram(start, fallback.pe_machine)) {
      layout_.defects.push_back(fmt::format("\\EFI\\BOOT\\{} on {} is no program for {}",
                                            fallback.name, where, fallback.machine));
      continue;
    }
    any = true;
    (fallback.machine == "x86_64" ? layout_.firmware.uefi_x86_64 : layout_.firmware.uefi_arm64) =
        true;
    Add(fmt::format("UEFI fallback loader ({})", fallback.machine),
        fmt::format("{}, \\EFI\\BOOT\\{}", where, fallback.name));
    Reason(fmt::format("UEFI ({}): {} is an EFI system partition with \\EFI\\BOOT\\{}",
                       fallback.machine, where, fallback.name));
  }
  if (any) return {};
  Reason(
      fmt::format("not UEFI: {} is an EFI system partition without \\EFI\\BOOT\\BOOTX64.EFI: it "
                  "starts only by an entry in the firmware's memory, which does not travel",
                  where));
  return {};
}

Result<void> Finder::Uefi() {
  int looked_into = 0;
  for (const Partition& partition : layout_.partitions) {
    if (!partition.esp || ++looked_into > kMaxSystemPartitions) continue;
    VMFERRY_RETURN_IF_ERROR(SystemPartition(partition));
  }
  if (looked_into == 0) Reason("not UEFI: there is no EFI system partition");
  return {};
}

}  // namespace

Result<void> FindBootLoaders(DiskReader& disk, std::span<const std::byte> sector,
                             GuestLayout& layout) {
  Finder finder(disk, layout);
  VMFERRY_RETURN_IF_ERROR(finder.Bios(sector));
  return finder.Uefi();
}

}  // namespace vmferry::guest
