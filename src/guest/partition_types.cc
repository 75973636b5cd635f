// SPDX-License-Identifier: Apache-2.0
#include "guest/partition_types.h"

namespace vmferry::guest {
namespace {

struct MbrType {
  std::uint8_t type;
  std::string_view name;
};
// "List of partition identifiers for PCs" (Andries Brouwer): those that machines of today have.
constexpr MbrType kMbrTypes[] = {
    {0x01, "FAT12"},
    {0x04, "FAT16 up to 32 MiB"},
    {0x05, "extended"},
    {0x06, "FAT16"},
    {0x07, "NTFS or exFAT"},
    {0x0b, "FAT32"},
    {0x0c, "FAT32, LBA"},
    {0x0e, "FAT16, LBA"},
    {0x0f, "extended, LBA"},
    {0x11, "FAT12, hidden"},
    {0x14, "FAT16 up to 32 MiB, hidden"},
    {0x16, "FAT16, hidden"},
    {0x17, "NTFS, hidden"},
    {0x1b, "FAT32, hidden"},
    {0x1c, "FAT32, LBA, hidden"},
    {0x1e, "FAT16, LBA, hidden"},
    {0x27, "Windows recovery"},
    {0x42, "Windows dynamic disk"},
    {0x63, "Unix System V"},
    {0x82, "Linux swap or Solaris"},
    {0x83, "Linux"},
    {0x85, "Linux extended"},
    {0x8e, "Linux LVM"},
    {0xa5, "FreeBSD"},
    {0xa6, "OpenBSD"},
    {0xa9, "NetBSD"},
    {0xaf, "Apple HFS or HFS+"},
    {0xbe, "Solaris boot"},
    {0xbf, "Solaris"},
    {0xee, "GPT protective"},
    {0xef, "EFI system"},
    {0xfb, "VMware VMFS"},
    {0xfc, "VMware swap"},
    {0xfd, "Linux RAID"},
};

struct GptType {
  std::string_view guid;
  std::string_view name;
};
// UEFI 2.10, table 5.7; the Discoverable Partitions Specification; the makers' documents.
constexpr GptType kGptTypes[] = {
    {kEspGuid, "EFI system"},
    {kBiosBootGuid, "BIOS boot"},
    {"024dee41-33e7-11d3-9d69-0008c781f39f", "MBR partition scheme"},
    {"e3c9e316-0b5c-4db8-817d-f92df00215ae", "Microsoft reserved"},
    {"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"},
    {"de94bba4-06d1-4d40-a16a-bfd50179d6ac", "Windows recovery"},
    {"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", "Windows LDM metadata"},
    {"af9b60a0-1431-4f62-bc68-3311714a69ad", "Windows LDM data"},
    {"e75caf8f-f680-4cee-afa3-b001e56efc2d", "Windows storage spaces"},
    {"0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux"},
    {"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86_64)"},
    {"44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"},
    {"b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (arm64)"},
    {"933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"},
    {"3b8f8425-20e0-4f3b-907f-1a25a76f98e8", "Linux server data"},
    {"4d21b016-b534-45c2-a9fb-5c16e091fd2d", "Linux var"},
    {"bc13c2ff-59e6-4262-a352-b275fd6f7172", "Linux extended boot"},
    {"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"},
    {"e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"},
    {"a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"},
    {"ca7d7ccb-63ed-4c53-861c-1742536059cc", "Linux LUKS"},
    {"8da63339-0007-60c0-c436-083ac8230908", "Linux reserved"},
    {"83bd6b9d-7f41-11dc-be0b-001560b84f0f", "FreeBSD boot"},
    {"516e7cb4-6ecf-11d6-8ff8-00022d712b28", "FreeBSD disklabel"},
    {"516e7cb5-6ecf-11d6-8ff8-00022d712b28", "FreeBSD swap"},
    {"516e7cb6-6ecf-11d6-8ff8-00022d712b28", "FreeBSD UFS"},
    {"516e7cba-6ecf-11d6-8ff8-00022d712b28", "FreeBSD ZFS"},
    {"824cc7a0-36a8-11e3-890a-952519ad3f61", "OpenBSD"},
    {"6a898cc3-1dd2-11b2-99a6-080020736631", "Solaris usr or ZFS"},
    {"48465300-0000-11aa-aa11-00306543ecac", "Apple HFS+"},
    {"7c3457ef-0000-11aa-aa11-00306543ecac", "Apple APFS"},
    {"aa31e02a-400f-11db-9590-000c2911d1b8", "VMware VMFS"},
    {"9d275380-40ad-11db-bf97-000c2911d1b8", "VMware coredump"},
    {"9198effc-31c0-11db-8f78-000c2911d1b8", "VMware reserved"},
    {"9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PowerPC PReP boot"},
};

}  // namespace

std::string_view MbrTypeName(std::uint8_t type) {
  for (const MbrType& known : kMbrTypes) {
    if (known.type == type) return known.name;
  }
  return "";
}

std::string_view GptTypeName(std::string_view guid) {
  for (const GptType& known : kGptTypes) {
    if (known.guid == guid) return known.name;
  }
  return "";
}

bool IsExtended(std::uint8_t type) { return type == 0x05 || type == 0x0f || type == 0x85; }

}  // namespace vmferry::guest
