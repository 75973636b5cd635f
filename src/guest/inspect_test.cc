// SPDX-License-Identifier: Apache-2.0
//
// Disks made by sfdisk, sgdisk, mkfs and others; what sfdisk and blkid say about them is the judge.

#include "guest/inspect.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/units.h"
#include "guest/fields.h"
#include "image/byte_source.h"
#include "image/open.h"
#include "image/raw/raw_image.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::guest {
namespace {

using testing::RunTool;
using testing::TempDir;

/// Where Debian keeps sfdisk, blkid and mkfs for those who are not root.
void WidenPath() {
  const char* path = std::getenv("PATH");
  const std::string text = path == nullptr ? "/usr/bin:/bin" : path;
  if (text.find("/usr/sbin") == std::string::npos) {
    ::setenv("PATH", (text + ":/usr/sbin:/sbin").c_str(), 1);
  }
}

class InspectTest : public ::testing::Test {
 protected:
  InspectTest() { WidenPath(); }

  std::string Disk(std::uint64_t size_bytes) {
    const std::filesystem::path path = dir_ / "disk.raw";
    std::ofstream(path, std::ios::trunc).close();
    std::filesystem::resize_file(path, size_bytes);
    return path.string();
  }

  /// Runs a program with `input` on its standard input.
  bool Feed(const std::string& input, std::vector<std::string> command) {
    const std::string file = (dir_ / "input").string();
    std::ofstream(file) << input;
    std::vector<std::string> shell = {"sh", "-c", "exec \"$@\" <\"$0\"", file};
    shell.insert(shell.end(), command.begin(), command.end());
    const auto outcome = RunTool(std::move(shell));
    if (!outcome.ok()) ADD_FAILURE() << command[0] << ": " << outcome.error_output;
    return outcome.ok();
  }

  static GuestLayout Inspect(const std::string& path) {
    const auto opened = image::OpenDisk(path);
    EXPECT_TRUE(opened) << opened.error().ToString();
    auto layout = InspectGuest(*opened->image);
    EXPECT_TRUE(layout) << layout.error().ToString();
    return *std::move(layout);
  }

  TempDir dir_;
};

/// As sfdisk prints it: "start= 2048, size= 100, type=83, bootable" per partition.
std::string AsDump(const GuestLayout& layout) {
  std::string text;
  const bool gpt = layout.table != TableKind::kMbr;
  for (const Partition& p : layout.partitions) {
    std::string type = gpt ? p.type : p.type.substr(2);
    if (!gpt && type[0] == '0') type.erase(0, 1);
    text += fmt::format("{} {} {} {}", p.index, p.offset_bytes / 512, p.length_bytes / 512, type);
    if (gpt) text += fmt::format(" {} {}", p.uuid, p.name);
    if (p.bootable) text += gpt ? " legacy" : " bootable";
    text += '\n';
  }
  return text;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// sfdisk's dump in the same form.
std::string JudgeDump(const std::string& path) {
  std::istringstream dump(RunTool({"sfdisk", "--dump", path}).output);
  std::string text;
  for (std::string line; std::getline(dump, line);) {
    const std::size_t colon = line.find(" : ");
    if (!line.starts_with(path) || colon == std::string::npos) continue;
    std::map<std::string, std::string> fields;
    std::istringstream parts(line.substr(colon + 3));
    for (std::string part; std::getline(parts, part, ',');) {
      part.erase(0, part.find_first_not_of(' '));
      const std::size_t equals = std::min(part.find('='), part.size());
      std::string value = part.substr(std::min(equals + 1, part.size()));
      value.erase(0, std::min(value.find_first_not_of(" \""), value.size()));
      if (!value.empty() && value.back() == '"') value.pop_back();
      fields[part.substr(0, equals)] = value;
    }
    text += fmt::format("{} {} {} {}", line.substr(path.size(), colon - path.size()),
                        fields["start"], fields["size"], Lower(fields["type"]));
    // sfdisk writes bytes above 127 as \xc3.
    for (std::size_t at = 0; (at = fields["name"].find("\\x", at)) != std::string::npos; ++at) {
      const int byte = std::stoi(fields["name"].substr(at + 2, 2), nullptr, 16);
      fields["name"].replace(at, 4, 1, static_cast<char>(byte));
    }
    if (fields.contains("uuid")) {
      text += fmt::format(" {} {}", Lower(fields["uuid"]), fields["name"]);
    }
    if (fields.contains("bootable")) text += " bootable";
    if (fields["attrs"].find("LegacyBIOSBootable") != std::string::npos) text += " legacy";
    text += '\n';
  }
  return text;
}

TEST_F(InspectTest, MbrWithLogicalPartitions) {
  VMFERRY_NEEDS_TOOL("sfdisk");
  const std::string disk = Disk(200 * kMiB);
  ASSERT_TRUE(
      Feed("label: dos\nlabel-id: 0xa1b2c3d4\nsize=20M, type=83, bootable\nsize=10M, "
           "type=82\nsize=10M, type=ef\ntype=5\nsize=20M, type=8e\nsize=20M, "
           "type=7\nsize=20M, type=c\n",
           {"sfdisk", "-q", disk}));
  const GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.table, TableKind::kMbr);
  EXPECT_EQ(layout.table_id, "a1b2c3d4");
  ASSERT_EQ(layout.partitions.size(), 7U);
  EXPECT_EQ(AsDump(layout), JudgeDump(disk));
  EXPECT_EQ(layout.partitions[0].uuid, "a1b2c3d4-01");
  EXPECT_TRUE(layout.partitions[2].esp);
  EXPECT_TRUE(layout.partitions[3].extended);
  EXPECT_TRUE(layout.partitions[6].logical);
  EXPECT_EQ(layout.partitions[6].type_name, "FAT32, LBA");
  EXPECT_TRUE(layout.defects.empty()) << layout.defects[0];
  EXPECT_FALSE(layout.firmware.bios);
}

TEST_F(InspectTest, SixtyLogicalPartitions) {
  VMFERRY_NEEDS_TOOL("sfdisk");
  const std::string disk = Disk(200 * kMiB);
  std::string script = "label: dos\ntype=5\n";
  for (int i = 0; i < 56; ++i) script += "size=1M, type=83\n";
  ASSERT_TRUE(Feed(script, {"sfdisk", "-q", disk}));
  const GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.partitions.size(), 57U);
  EXPECT_EQ(AsDump(layout), JudgeDump(disk));
}

TEST_F(InspectTest, GptAsSgdiskMakesIt) {
  VMFERRY_NEEDS_TOOL("sgdisk");
  VMFERRY_NEEDS_TOOL("sfdisk");
  const std::string disk = Disk(100 * kMiB);
  ASSERT_TRUE(RunTool({"sgdisk",
                       "-n",
                       "1:0:+10M",
                       "-t",
                       "1:ef00",
                       "-c",
                       "1:EFI system",
                       "-n",
                       "3:0:+1M",
                       "-t",
                       "3:ef02",
                       "-n",
                       "7:0:0",
                       "-t",
                       "7:8300",
                       "-c",
                       "7:W\xc3\xbcrzel \xf0\x9f\x98\x80",
                       "-A",
                       "7:set:2",
                       disk})
                  .ok());
  const GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.table, TableKind::kGpt);
  EXPECT_EQ(layout.sector_bytes, 512U);
  EXPECT_EQ(AsDump(layout), JudgeDump(disk));
  ASSERT_EQ(layout.partitions.size(), 3U);
  EXPECT_TRUE(layout.partitions[0].esp);
  EXPECT_EQ(layout.partitions[2].name, "W\xc3\xbcrzel \xf0\x9f\x98\x80");
  EXPECT_TRUE(layout.partitions[2].bootable);
  EXPECT_TRUE(layout.defects.empty()) << layout.defects[0];
}

TEST_F(InspectTest, GptOfAResizedOrDamagedDisk) {
  VMFERRY_NEEDS_TOOL("sgdisk");
  const std::string disk = Disk(100 * kMiB);
  ASSERT_TRUE(RunTool({"sgdisk", "-n", "1:0:0", disk}).ok());
  std::filesystem::resize_file(disk, 120 * kMiB);
  GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.partitions.size(), 1U);
  ASSERT_EQ(layout.defects.size(), 1U);
  EXPECT_NE(layout.defects[0].find("enlarged"), std::string::npos);
  // Cut off: the copy is gone, and the partition ends past the end.
  std::filesystem::resize_file(disk, 50 * kMiB);
  layout = Inspect(disk);
  ASSERT_EQ(layout.defects.size(), 3U);
  EXPECT_NE(layout.defects[0].find("cut off"), std::string::npos);
  EXPECT_NE(layout.defects[2].find("past the end"), std::string::npos);

  const std::string other = Disk(100 * kMiB);
  ASSERT_TRUE(RunTool({"sgdisk", "-n", "1:0:0", other}).ok());
  std::fstream file(other, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(512 + 40);
  file.put('\x7f');
  file.flush();
  layout = Inspect(other);
  EXPECT_EQ(layout.table, TableKind::kGpt);
  EXPECT_EQ(layout.partitions.size(), 1U);
  ASSERT_EQ(layout.defects.size(), 1U);
  EXPECT_NE(layout.defects[0].find("copy is used"), std::string::npos);
  // Both damaged: what the MBR says is left.
  file.seekp(100 * kMiB - 512 + 40);
  file.put('\x7f');
  file.flush();
  layout = Inspect(other);
  EXPECT_EQ(layout.table, TableKind::kMbr);
  EXPECT_GE(layout.defects.size(), 2U);
}

TEST_F(InspectTest, HybridMbr) {
  VMFERRY_NEEDS_TOOL("sgdisk");
  const std::string disk = Disk(100 * kMiB);
  ASSERT_TRUE(RunTool({"sgdisk", "-n", "1:0:+20M", "-n", "2:0:0", "-h", "1", disk}).ok());
  const GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.table, TableKind::kHybrid);
  EXPECT_EQ(layout.partitions.size(), 2U);
  EXPECT_EQ(layout.findings.size(), 1U);
}

struct FileSystemCase {
  std::string name;
  std::string tool;
  std::vector<std::string> command;  ///< the disk's path is added
  std::uint64_t size_bytes;
};

class InspectFileSystem : public InspectTest,
                          public ::testing::WithParamInterface<FileSystemCase> {};

TEST_P(InspectFileSystem, AgreesWithBlkid) {
  const FileSystemCase& one = GetParam();
  VMFERRY_NEEDS_TOOL(one.tool);
  VMFERRY_NEEDS_TOOL("blkid");
  const std::string disk = Disk(one.size_bytes);
  std::vector<std::string> command = one.command;
  command.push_back(disk);
  if (one.tool == "mksquashfs") {
    command = {"mksquashfs", dir_.path().string(), disk, "-noappend", "-quiet", "-e", disk};
  }
  if (one.tool == "genisoimage")
    command = {"genisoimage", "-quiet", "-V", "My disc", "-o", disk, "/etc/hostname"};
  const auto made = RunTool(command);
  ASSERT_TRUE(made.ok()) << made.error_output << made.output;
  const GuestLayout layout = Inspect(disk);
  EXPECT_EQ(layout.table, TableKind::kNone);
  ASSERT_TRUE(layout.whole_disk);
  const auto judge = [&](const char* tag) {
    std::string value = RunTool({"blkid", "-p", "-o", "value", "-s", tag, disk}).output;
    if (!value.empty() && value.back() == '\n') value.pop_back();
    return value;
  };
  EXPECT_EQ(layout.whole_disk->kind, judge("TYPE"));
  EXPECT_EQ(layout.whole_disk->label, judge("LABEL"));
  if (!layout.whole_disk->uuid.empty()) {
    EXPECT_EQ(layout.whole_disk->uuid, judge("UUID"));
  }
  if (one.name != "iso9660" && one.name != "squashfs") {
    EXPECT_NE(layout.whole_disk->uuid, "");
  }
  EXPECT_EQ(FirmwareName(layout.firmware), "neither") << layout.firmware.reasons[0];
}

INSTANTIATE_TEST_SUITE_P(
    Made, InspectFileSystem,
    ::testing::Values(
        FileSystemCase{"ext2", "mke2fs", {"mke2fs", "-q", "-t", "ext2", "-L", "root"}, 8 * kMiB},
        FileSystemCase{
            "ext3", "mke2fs", {"mke2fs", "-q", "-t", "ext3", "-L", "r\xc3\xb6t"}, 16 * kMiB},
        FileSystemCase{"ext4", "mke2fs", {"mke2fs", "-q", "-t", "ext4"}, 16 * kMiB},
        FileSystemCase{"xfs", "mkfs.xfs", {"mkfs.xfs", "-q", "-L", "data"}, 320 * kMiB},
        FileSystemCase{"btrfs", "mkfs.btrfs", {"mkfs.btrfs", "-q", "-L", "a label"}, 128 * kMiB},
        FileSystemCase{"ntfs",
                       "mkfs.ntfs",
                       {"mkfs.ntfs", "-q", "-F", "-f", "-L", "Windows", "-s", "512", "-p", "0",
                        "-H", "16", "-S", "63"},
                       8 * kMiB},
        FileSystemCase{"fat12", "mkfs.vfat", {"mkfs.vfat", "-F", "12", "-n", "FLOPPY"}, 2 * kMiB},
        FileSystemCase{"fat16", "mkfs.vfat", {"mkfs.vfat", "-F", "16"}, 32 * kMiB},
        FileSystemCase{"fat32", "mkfs.vfat", {"mkfs.vfat", "-F", "32", "-n", "ESP"}, 64 * kMiB},
        FileSystemCase{"exfat", "mkfs.exfat", {"mkfs.exfat", "-L", "Card"}, 16 * kMiB},
        FileSystemCase{"swap", "mkswap", {"mkswap", "-q", "-L", "swap"}, 4 * kMiB},
        FileSystemCase{"f2fs", "mkfs.f2fs", {"mkfs.f2fs", "-q", "-l", "flash"}, 64 * kMiB},
        FileSystemCase{"squashfs", "mksquashfs", {}, kMiB},
        FileSystemCase{"iso9660", "genisoimage", {}, kMiB},
        FileSystemCase{"luks1",
                       "cryptsetup",
                       {"sh", "-c",
                        "printf pw | cryptsetup luksFormat --type luks1 --pbkdf-force-iterations "
                        "1000 -q \"$0\" -"},
                       16 * kMiB},
        FileSystemCase{"luks2",
                       "cryptsetup",
                       {"sh", "-c",
                        "printf pw | cryptsetup luksFormat --type luks2 --label secret --pbkdf "
                        "pbkdf2 --pbkdf-force-iterations 1000 -q \"$0\" -"},
                       32 * kMiB}),
    [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace vmferry::guest
