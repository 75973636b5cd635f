// SPDX-License-Identifier: Apache-2.0
#include "guest/file_system.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <utility>

#include "base/units.h"
#include "codec/text_codec.h"
#include "codec/zero.h"
#include "guest/fat.h"
#include "guest/fields.h"

namespace vmferry::guest {
namespace {

using View = std::span<const std::byte>;
using Found = std::optional<FileSystem>;

/// UUID of 16 bytes; empty when it is all zero, as blkid does.
std::string UuidOrNone(View bytes) { return codec::IsZero(bytes) ? "" : Uuid(bytes); }

// Linux, Documentation/filesystems/ext4/super.rst. The superblock is at byte 1,024.
Found ProbeExt(View head) {
  const View super = Slice(head, 1024, 1024);
  if (U16Le(super, 0x38) != 0xef53) return std::nullopt;
  const std::uint32_t compat = U32Le(super, 0x5c);
  const std::uint32_t incompat = U32Le(super, 0x60);
  const std::uint32_t ro_compat = U32Le(super, 0x64);
  constexpr std::uint32_t kHasJournal = 0x4;
  constexpr std::uint32_t kNeedsRecovery = 0x4;
  constexpr std::uint32_t kJournalDevice = 0x8;
  constexpr std::uint32_t kExt3Incompat = 0x2 | kNeedsRecovery | 0x10;  // file type, meta groups
  constexpr std::uint32_t kExt3RoCompat = 0x1 | 0x2 | 0x4;
  FileSystem fs = {.kind = "ext4",
                   .label = Text(Slice(super, 0x78, 16)),
                   .uuid = UuidOrNone(Slice(super, 0x68, 16)),
                   .notes = {}};
  if ((incompat & kJournalDevice) != 0) {
    fs.kind = "jbd";
  } else if ((incompat & ~kExt3Incompat) == 0 && (ro_compat & ~kExt3RoCompat) == 0) {
    fs.kind = (compat & kHasJournal) != 0 ? "ext3" : "ext2";
  }
  fs.notes.push_back(fmt::format("features: compatible {:#x}, incompatible {:#x}, read-only {:#x}",
                                 compat, incompat, ro_compat));
  if ((incompat & kNeedsRecovery) != 0) {
    fs.notes.emplace_back("it was not unmounted cleanly: its journal will be replayed");
  }
  // The state: bit 0 is "cleanly unmounted", bit 1 "errors were found".
  if ((U16Le(super, 0x3a) & 2) != 0) fs.notes.emplace_back("it has errors: run fsck");
  return fs;
}

// XFS Algorithms & Data Structures, "Superblocks".
Found ProbeXfs(View head) {
  const auto block_bytes = At(head, 4).U32Be();
  if (!Says(head, 0, "XFSB") || !std::has_single_bit(block_bytes) || block_bytes < 512) {
    return std::nullopt;
  }
  return FileSystem{.kind = "xfs",
                    .label = Text(Slice(head, 108, 12)),
                    .uuid = UuidOrNone(Slice(head, 32, 16)),
                    .notes = {}};
}

// Linux, Documentation: the swap header ends the first page.
Found ProbeSwap(View head) {
  for (const std::size_t page : {4096U, 8192U, 16384U}) {
    if (Says(head, page - 10, "SWAP-SPACE")) {
      return FileSystem{.kind = "swap", .label = "", .uuid = "", .notes = {}};
    }
    if (!Says(head, page - 10, "SWAPSPACE2")) continue;
    return FileSystem{.kind = "swap",
                      .label = Text(Slice(head, 1024 + 28, 16)),
                      .uuid = UuidOrNone(Slice(head, 1024 + 12, 16)),
                      .notes = {}};
  }
  if (Says(head, 4096 - 10, "S1SUSPEND") || Says(head, 4096 - 10, "LINHIB0001")) {
    return FileSystem{
        .kind = "swsuspend", .label = "", .uuid = "", .notes = {"the machine is hibernated in it"}};
  }
  return std::nullopt;
}

// LVM2 on-disk format, "label header": in one of the first four sectors.
Found ProbeLvm(View head) {
  for (std::size_t sector = 0; sector < 4; ++sector) {
    const View label = Slice(head, sector * 512, 512);
    if (!Says(label, 0, "LABELONE") || !Says(label, 24, "LVM2 001")) continue;
    const std::string raw = Text(Slice(label, U32Le(label, 20), 32));
    // The UUID has 32 characters, written in groups of 6 and 4.
    std::string uuid;
    for (std::size_t i = 0; i < raw.size(); ++i) {
      const bool edge = i == 6 || (i > 6 && i <= 26 && (i - 6) % 4 == 0);
      if (edge) uuid.push_back('-');
      uuid.push_back(raw[i]);
    }
    return FileSystem{.kind = "LVM2_member", .label = "", .uuid = uuid, .notes = {}};
  }
  return std::nullopt;
}

// LUKS On-Disk Format Specification 1.2.3 and LUKS2 1.1.
Found ProbeLuks(View head) {
  if (!Says(head, 0, "LUKS\xba\xbe")) return std::nullopt;
  const std::uint16_t version = U16Be(head, 6);
  FileSystem fs = {
      .kind = "crypto_LUKS",
      .label = version == 2 ? Text(Slice(head, 24, 48)) : "",
      .uuid = Text(Slice(head, 168, 40)),
      .notes = {fmt::format("it is encrypted (LUKS version {}): it is not looked into", version)}};
  return fs;
}

FileSystem Encrypted(std::string kind) {
  return {.kind = std::move(kind),
          .label = "",
          .uuid = "",
          .notes = {"it is encrypted: it is not looked into"}};
}

// Names in bytes 3 to 10 of a boot sector: BitLocker, ReFS.
Found ProbeMicrosoft(View head) {
  // The GUID of BitLocker To Go at byte 424, in its stored order.
  if (Says(head, 3, "-FVE-FS-") ||
      (Says(head, 3, "MSWIN4.1") &&
       Guid(Slice(head, 424, 16)) == "4967d63b-2e29-4ad8-8399-f6a339e3d001")) {
    return Encrypted("BitLocker");
  }
  constexpr std::string_view kRefs("\0\0\0ReFS\0", 8);
  if (Says(head, 0, kRefs)) {
    return FileSystem{.kind = "ReFS",
                      .label = "",
                      .uuid = "",
                      .notes = {fmt::format("ReFS version {}.{}", U8(head, 40), U8(head, 41))}};
  }
  return std::nullopt;
}

// F2FS, Documentation/filesystems/f2fs.rst: the superblock is at byte 1,024.
Found ProbeF2fs(View head) {
  if (U32Le(head, 1024) != 0xf2f52010) return std::nullopt;
  return FileSystem{.kind = "f2fs",
                    .label = Utf16Text(Slice(head, 1024 + 124, 1024)),
                    .uuid = UuidOrNone(Slice(head, 1024 + 108, 16)),
                    .notes = {}};
}

// Apple: TN1150 (HFS Plus Volume Format), Apple File System Reference.
Found ProbeApple(View head) {
  if (Says(head, 32, "NXSB")) {
    return FileSystem{.kind = "apfs", .label = "", .uuid = Uuid(Slice(head, 72, 16)), .notes = {}};
  }
  const std::uint16_t version = U16Be(head, 1026);
  if ((Says(head, 1024, "H+") && version == 4) || (Says(head, 1024, "HX") && version == 5)) {
    return FileSystem{.kind = "hfsplus", .label = "", .uuid = "", .notes = {}};
  }
  return std::nullopt;
}

// Linux, Documentation/filesystems/squashfs.rst; the version is at byte 28.
Found ProbeSquashfs(View head) {
  if (!Says(head, 0, "hsqs") || U16Le(head, 28) != 4) return std::nullopt;
  return FileSystem{.kind = "squashfs", .label = "", .uuid = "", .notes = {}};
}

// btrfs on-disk format: the superblock is at 64 KiB, its magic at byte 64.
Found ProbeBtrfs(View second) {
  const View super = Slice(second, 32 * kKiB, 4096);  // `second` begins at 32 KiB
  if (!Says(super, 0x40, "_BHRfS_M")) return std::nullopt;
  return FileSystem{.kind = "btrfs",
                    .label = Text(Slice(super, 0x12b, 256)),
                    .uuid = UuidOrNone(Slice(super, 0x20, 16)),
                    .notes = {}};
}

// ECMA-119, 8.4: the primary volume descriptor is in sector 16 of 2,048 bytes.
Found ProbeIso(View second) {
  if (U8(second, 0) != 1 || !Says(second, 1, "CD001")) return std::nullopt;
  return FileSystem{
      .kind = "iso9660", .label = Text(Slice(second, 40, 32)), .uuid = "", .notes = {}};
}

// FreeBSD, sys/ufs/ffs/fs.h: the magic is at byte 1,372 of the superblock, at 8 KiB or 64 KiB.
Found ProbeUfs(View head, View second) {
  constexpr std::size_t kMagicAt = 1372;
  if (U32Le(second, 32 * kKiB + kMagicAt) == 0x19540119) {
    return FileSystem{.kind = "ufs",
                      .label = Text(Slice(second, 32 * kKiB + 680, 32)),
                      .uuid = "",
                      .notes = {"UFS2"}};
  }
  if (U32Le(head, 8 * kKiB + kMagicAt) == 0x00011954) {
    return FileSystem{.kind = "ufs", .label = "", .uuid = "", .notes = {"UFS1"}};
  }
  return std::nullopt;
}

constexpr std::uint32_t kRaidMagic = 0xa92b4efc;

FileSystem RaidMember(std::string uuid, std::string label, std::string_view version) {
  return {.kind = "linux_raid_member",
          .label = std::move(label),
          .uuid = std::move(uuid),
          .notes = {fmt::format("metadata version {}", version)}};
}

// Linux, include/uapi/linux/raid/md_p.h: version 1 at the start (1.1), 4 KiB behind it (1.2) or
// 8 KiB before the end (1.0).
Found ProbeRaid1(View super, std::string_view version) {
  if (U32Le(super, 0) != kRaidMagic || U32Le(super, 4) != 1) return std::nullopt;
  return RaidMember(Uuid(Slice(super, 16, 16)), Text(Slice(super, 32, 32)), version);
}

// The same, version 0.90: in the last 64 KiB that begin on a multiple of 64 KiB.
Found ProbeRaid0(View super) {
  if (U32Le(super, 0) != kRaidMagic || U32Le(super, 4) != 0) return std::nullopt;
  Bytes uuid;
  for (const std::size_t at : {20U, 52U, 56U, 60U}) {
    // Four words of the machine's order, written as numbers.
    for (const std::size_t i : {3U, 2U, 1U, 0U}) {
      const View byte = Slice(super, at + i, 1);
      uuid.insert(uuid.end(), byte.begin(), byte.end());
    }
  }
  return RaidMember(Uuid(uuid), "", "0.90");
}

// NTFS documentation (Linux-NTFS project), "$Boot", "$MFT", "$Volume".
struct NtfsPlace {
  std::uint64_t volume_record_at = 0;
  std::size_t record_bytes = 0;
};

std::optional<NtfsPlace> PlaceOfNtfsVolume(View head) {
  const std::uint64_t sector_bytes = U16Le(head, 11);
  const std::uint8_t raw_clusters = U8(head, 13);
  // Above 128 the value is the negative of a power of two.
  const std::uint64_t cluster_sectors =
      raw_clusters <= 128 ? raw_clusters : std::uint64_t{1} << (256 - raw_clusters) % 32;
  const std::uint64_t cluster_bytes = sector_bytes * cluster_sectors;
  const auto raw_record = static_cast<std::int8_t>(U8(head, 64));
  const std::uint64_t record_bytes = raw_record > 0
                                         ? static_cast<std::uint64_t>(raw_record) * cluster_bytes
                                         : std::uint64_t{1} << (-static_cast<int>(raw_record) % 32);
  const auto table_at = CheckedMul(U64Le(head, 48), cluster_bytes);
  if (!table_at || record_bytes < 256 || record_bytes > 64 * kKiB) return std::nullopt;
  const auto at = CheckedAdd(*table_at, 3 * record_bytes);
  if (!at) return std::nullopt;
  return NtfsPlace{.volume_record_at = *at, .record_bytes = static_cast<std::size_t>(record_bytes)};
}

/// The attribute $VOLUME_NAME (0x60) of the file record of $Volume.
std::string NtfsLabel(View record) {
  if (!Says(record, 0, "FILE")) return "";
  std::size_t at = U16Le(record, 20);
  // A record of 64 KiB has fewer attributes.
  for (int i = 0; i < 64; ++i) {
    const std::uint32_t type = U32Le(record, at);
    const std::uint32_t length = U32Le(record, at + 4);
    if (type == 0xffffffff || length < 24 || length > record.size() - std::min(at, record.size())) {
      return "";
    }
    const bool resident = U8(record, at + 8) == 0;
    if (type == 0x60 && resident) {
      return Utf16Text(Slice(record, at + U16Le(record, at + 20), U32Le(record, at + 16)));
    }
    at += length;
  }
  return "";
}

Result<Found> ProbeNtfs(DiskReader& disk, std::uint64_t offset_bytes, View head) {
  if (!Says(head, 3, "NTFS    ")) return Found();
  FileSystem fs = {
      .kind = "ntfs", .label = "", .uuid = fmt::format("{:016X}", U64Le(head, 72)), .notes = {}};
  if (const auto place = PlaceOfNtfsVolume(head)) {
    if (const auto at = CheckedAdd(offset_bytes, place->volume_record_at)) {
      VMFERRY_ASSIGN_OR_RETURN(const Bytes record, disk.Read(*at, place->record_bytes));
      fs.label = NtfsLabel(record);
    }
  }
  return Found(std::move(fs));
}

std::string SerialText(std::uint32_t serial) {
  return fmt::format("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
}

// Microsoft, "exFAT file system specification": the label is an entry 0x83 of the root directory.
Result<Found> ProbeExfat(DiskReader& disk, std::uint64_t offset_bytes, View head) {
  if (!Says(head, 3, "EXFAT   ")) return Found();
  FileSystem fs = {.kind = "exfat", .label = "", .uuid = SerialText(U32Le(head, 100)), .notes = {}};
  const std::uint32_t sector_shift = U8(head, 108);
  const std::uint32_t cluster_shift = U8(head, 109);
  const std::uint32_t root = U32Le(head, 96);
  if (sector_shift < 9 || sector_shift > 12 || cluster_shift > 25 - sector_shift || root < 2) {
    return Found(std::move(fs));
  }
  // 32 bits of sectors and of clusters of at most 32 MiB: 57 bits.
  const std::uint64_t root_at = (std::uint64_t{U32Le(head, 88)} << sector_shift) +
                                (std::uint64_t{root - 2} << (sector_shift + cluster_shift));
  const auto at = CheckedAdd(offset_bytes, root_at);
  if (!at) return Found(std::move(fs));
  VMFERRY_ASSIGN_OR_RETURN(const Bytes directory, disk.Read(*at, 4096));
  for (std::size_t entry = 0; entry + 32 <= directory.size(); entry += 32) {
    const std::uint8_t type = U8(directory, entry);
    if (type == 0) break;
    if (type != 0x83) continue;
    const std::size_t units = std::min<std::size_t>(U8(directory, entry + 1), 11);
    fs.label = Utf16Text(Slice(directory, entry + 2, units * 2));
  }
  return Found(std::move(fs));
}

Result<Found> ProbeFat(DiskReader& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                       View head) {
  const auto volume = ParseFat(head);
  // Without the boot signature or the name of its kind, five fields are too little to go by.
  const bool named = Says(head, 54, "FAT") || Says(head, 82, "FAT32") || Says(head, 54, "MSDOS");
  if (!volume || (!named && U16Le(head, 510) != 0xaa55) ||
      volume->clusters_bytes_at >= length_bytes) {
    return Found();
  }
  FileSystem fs = {.kind = "vfat",
                   .label = volume->label,
                   .uuid = volume->serial == 0 ? "" : SerialText(volume->serial),
                   .notes = {volume->kind == FatKind::kFat12   ? "FAT12"
                             : volume->kind == FatKind::kFat16 ? "FAT16"
                                                               : "FAT32"}};
  // The label in the root directory is the one that people change.
  VMFERRY_ASSIGN_OR_RETURN(const auto root,
                           ReadFatDirectory(disk, offset_bytes, *volume, std::nullopt));
  for (const FatEntry& entry : root) {
    if (!entry.label || entry.directory) continue;
    fs.label = Text(AsBytes(entry.short_name));
    break;
  }
  return Found(std::move(fs));
}

// OpenZFS, "ZFS On-Disk Specification", 1.2: the uberblocks are 128 KiB into each label.
Result<Found> ProbeZfs(DiskReader& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  constexpr std::size_t kLabelBytes = 256 * kKiB;
  constexpr std::uint64_t kMagic = 0x00bab10c;
  if (length_bytes < 4 * kLabelBytes) return Found();
  VMFERRY_ASSIGN_OR_RETURN(const Bytes ring, disk.Read(offset_bytes + 128 * kKiB, 128 * kKiB));
  for (std::size_t at = 0; at + 1024 <= ring.size(); at += 1024) {
    if (U64Le(ring, at) != kMagic && At(ring, at).U64Be() != kMagic) continue;
    return Found(FileSystem{.kind = "zfs_member", .label = "", .uuid = "", .notes = {}});
  }
  return Found();
}

/// RAID metadata at the end: what the start holds then belongs to the array.
Result<Found> ProbeEnd(DiskReader& disk, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (length_bytes < 128 * kKiB) return Found();
  const std::uint64_t sectors = length_bytes / kSectorBytes;
  const std::uint64_t at_1_0 = (sectors - 16) / 8 * 8 * kSectorBytes;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes super, disk.Read(offset_bytes + at_1_0, 256));
  if (Found found = ProbeRaid1(super, "1.0")) return found;
  const std::uint64_t at_0_90 = length_bytes / (64 * kKiB) * (64 * kKiB) - 64 * kKiB;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes old, disk.Read(offset_bytes + at_0_90, 256));
  return ProbeRaid0(old);
}

Found ProbeHead(View head) {
  for (const auto probe : {ProbeLuks, ProbeLvm}) {
    if (Found found = probe(head)) return found;
  }
  if (Found found = ProbeRaid1(head, "1.1")) return found;
  if (Found found = ProbeRaid1(Slice(head, 4096, 256), "1.2")) return found;
  for (const auto probe :
       {ProbeExt, ProbeXfs, ProbeF2fs, ProbeSwap, ProbeMicrosoft, ProbeApple, ProbeSquashfs}) {
    if (Found found = probe(head)) return found;
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<FileSystem>> ProbeFileSystem(DiskReader& disk, std::uint64_t offset_bytes,
                                                  std::uint64_t length_bytes) {
  if (offset_bytes >= disk.SizeBytes()) return Found();
  length_bytes = std::min(length_bytes, disk.SizeBytes() - offset_bytes);
  const auto clip = [&](std::uint64_t from_bytes, std::uint64_t count_bytes) {
    const std::uint64_t left_bytes = from_bytes < length_bytes ? length_bytes - from_bytes : 0;
    return static_cast<std::size_t>(std::min(count_bytes, left_bytes));
  };
  VMFERRY_ASSIGN_OR_RETURN(Found found, ProbeEnd(disk, offset_bytes, length_bytes));
  if (found) return found;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes head, disk.Read(offset_bytes, clip(0, 16 * kKiB)));
  if (found = ProbeHead(head); found) return found;
  VMFERRY_ASSIGN_OR_RETURN(found, ProbeNtfs(disk, offset_bytes, head));
  if (found) return found;
  VMFERRY_ASSIGN_OR_RETURN(found, ProbeExfat(disk, offset_bytes, head));
  if (found) return found;
  VMFERRY_ASSIGN_OR_RETURN(const Bytes second,
                           disk.Read(offset_bytes + 32 * kKiB, clip(32 * kKiB, 36 * kKiB)));
  if (found = ProbeBtrfs(second); found) return found;
  if (found = ProbeIso(second); found) return found;
  if (found = ProbeUfs(head, second); found) return found;
  VMFERRY_ASSIGN_OR_RETURN(found, ProbeFat(disk, offset_bytes, length_bytes, head));
  if (found) return found;
  return ProbeZfs(disk, offset_bytes, length_bytes);
}

}  // namespace vmferry::guest
