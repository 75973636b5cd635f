// SPDX-License-Identifier: Apache-2.0
//
// Disks that start, and disks that look as if: GRUB, Windows, SYSLINUX and UEFI loaders.

#include "guest/boot_loader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/units.h"
#include "guest/inspect.h"
#include "image/open.h"
#include "testing/memory_disk.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::guest {
namespace {

using testing::RunTool;
using testing::TempDir;

void Put(Bytes& bytes, std::size_t at, std::string_view text) {
  std::memcpy(bytes.data() + at, text.data(), text.size());
}

/// A disk of 1 MiB with one partition from sector 64 on, its boot code saying `code`.
Bytes DiskWith(std::string_view code, bool active, std::string_view volume_code) {
  Bytes bytes(kMiB);
  const auto sector = [&](std::size_t at, std::string_view text) {
    if (text.empty()) return;
    Put(bytes, at + 150, text);
    Put(bytes, at + 510, "\x55\xaa");
  };
  sector(0, code);
  sector(std::size_t{64} * 512, volume_code);
  Put(bytes, 446, active ? "\x80" : std::string_view("\0", 1));
  Put(bytes, 450, "\x07");
  Put(bytes, 454, "\x40");
  Put(bytes, 459, "\x01");
  Put(bytes, 510, "\x55\xaa");
  return bytes;
}

GuestLayout Describe(Bytes bytes) {
  const std::uint64_t size_bytes = bytes.size();
  auto layout = InspectGuest(testing::MemoryDisk(std::move(bytes), size_bytes));
  EXPECT_TRUE(layout) << layout.error().ToString();
  return *std::move(layout);
}

std::string Loaders(const GuestLayout& layout) {
  std::string text;
  for (const BootLoader& loader : layout.boot_loaders) text += loader.name + "; ";
  return text;
}

TEST(BootLoader, WindowsStartsFromTheActivePartition) {
  GuestLayout layout =
      Describe(DiskWith("Error loading operating system", true, "BOOTMGR is missing"));
  EXPECT_TRUE(layout.firmware.bios);
  EXPECT_EQ(layout.boot_loaders.size(), 2U);
  EXPECT_NE(Loaders(layout).find("BOOTMGR"), std::string::npos);
  layout = Describe(DiskWith("Error loading operating system", true, "NTLDR is missing"));
  EXPECT_NE(Loaders(layout).find("NTLDR"), std::string::npos);
}

TEST(BootLoader, WithoutAnActivePartitionChainingCodeStartsNothing) {
  const GuestLayout layout =
      Describe(DiskWith("Error loading operating system", false, "BOOTMGR is missing"));
  EXPECT_FALSE(layout.firmware.bios);
  EXPECT_NE(layout.firmware.reasons[0].find("none is active"), std::string::npos);
}

TEST(BootLoader, AnActivePartitionThatHoldsNothingStartsNothing) {
  for (const std::string_view volume : {"", "This is not a bootable disk"}) {
    const GuestLayout layout = Describe(DiskWith("Missing operating system.", true, volume));
    EXPECT_FALSE(layout.firmware.bios) << volume;
  }
}

TEST(BootLoader, RecognisesOthersByTheirTexts) {
  EXPECT_NE(Loaders(Describe(DiskWith("LILO", false, ""))).find("LILO"), std::string::npos);
  EXPECT_NE(
      Loaders(Describe(DiskWith("isolinux.bin missing or corrupt", false, ""))).find("isolinux"),
      std::string::npos);
  EXPECT_NE(Loaders(Describe(DiskWith("Missing OS", true, "EXTLINUX"))).find("EXTLINUX"),
            std::string::npos);
  const GuestLayout unknown = Describe(DiskWith("something", false, ""));
  EXPECT_TRUE(unknown.firmware.bios);
  EXPECT_NE(unknown.firmware.reasons[0].find("probably"), std::string::npos);
}

TEST(BootLoader, GrubWithoutItsCoreImageDoesNotStart) {
  Bytes bytes = DiskWith("GRUB Geom", false, "");
  Put(bytes, 0x5c, "\x01");
  GuestLayout layout = Describe(bytes);
  EXPECT_FALSE(layout.firmware.bios);
  EXPECT_EQ(layout.defects.size(), 1U);
  Put(bytes, 512 + 300, "loading");
  layout = Describe(bytes);
  EXPECT_TRUE(layout.firmware.bios);
  EXPECT_EQ(layout.boot_loaders[0].name, "GRUB 2");
  // A place past the end of any disk.
  Put(bytes, 0x5c, "\xff\xff\xff\xff\xff\xff\xff\xff");
  EXPECT_FALSE(Describe(bytes).firmware.bios);
}

TEST(BootLoader, ReadsRealGrub) {
  const std::string boot = "/usr/lib/grub/i386-pc/boot.img";
  const std::string core = "/usr/lib/grub/i386-pc/diskboot.img";
  std::ifstream boot_in(boot, std::ios::binary);
  std::ifstream core_in(core, std::ios::binary);
  if (!boot_in || !core_in) GTEST_SKIP() << "needs grub-pc-bin";
  const std::string boot_image{std::istreambuf_iterator<char>(boot_in), {}};
  const std::string core_image{std::istreambuf_iterator<char>(core_in), {}};
  Bytes bytes(kMiB);
  Put(bytes, 0, boot_image.substr(0, 440));
  Put(bytes, 512, core_image.substr(0, 512));
  Put(bytes, 446 + 4, "\x83");
  Put(bytes, 446 + 9, "\x08");
  Put(bytes, 446 + 13, "\x02");
  Put(bytes, 510, "\x55\xaa");
  const GuestLayout layout = Describe(std::move(bytes));
  EXPECT_TRUE(layout.firmware.bios) << layout.firmware.reasons[0];
  EXPECT_EQ(Loaders(layout), "GRUB 2; ");
}

/// The head of a PE program for a machine.
std::string EfiProgram(std::uint16_t machine) {
  std::string program(600, '\0');
  program.replace(0, 2, "MZ");
  program[0x3c] = '\x40';
  program.replace(0x40, 2, "PE");
  program[0x44] = static_cast<char>(machine & 0xff);
  program[0x45] = static_cast<char>(machine >> 8);
  return program;
}

class SystemPartition : public ::testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(SystemPartition, FindsTheFallbackLoader) {
  ::setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
  VMFERRY_NEEDS_TOOL("sgdisk");
  VMFERRY_NEEDS_TOOL("mkfs.vfat");
  VMFERRY_NEEDS_TOOL("mcopy");
  TempDir dir;
  const std::string disk = (dir / "disk.raw").string();
  const std::string volume = (dir / "esp.raw").string();
  std::ofstream(dir / "x64") << EfiProgram(0x8664);
  std::ofstream(dir / "aa64") << EfiProgram(0xaa64);
  const auto mib = static_cast<std::uint64_t>(GetParam().second);
  std::ofstream(volume).close();
  std::filesystem::resize_file(volume, mib * kMiB);
  std::ofstream(disk).close();
  std::filesystem::resize_file(disk, (mib + 2) * kMiB);
  const std::string size = "1:2048:+" + std::to_string(mib) + "M";
  ASSERT_TRUE(RunTool({"sgdisk", "-n", size, "-t", "1:ef00", disk}).ok());
  ASSERT_TRUE(RunTool({"mkfs.vfat", "-F", GetParam().first, volume}).ok());
  const auto describe = [&] {
    RunTool({"dd", "if=" + volume, "of=" + disk, "bs=1M", "seek=1", "conv=notrunc,sparse"});
    const auto opened = image::OpenDisk(disk);
    EXPECT_TRUE(opened);
    auto layout = InspectGuest(*opened->image);
    EXPECT_TRUE(layout);
    return *std::move(layout);
  };
  EXPECT_FALSE(describe().firmware.uefi());
  ASSERT_TRUE(RunTool({"mmd", "-i", volume, "::EFI", "::EFI/BOOT", "::EFI/debian"}).ok());
  // Enough entries for a directory of several clusters.
  for (int i = 0; i < 20; ++i) {
    RunTool({"mcopy", "-i", volume, (dir / "x64").string(),
             "::EFI/BOOT/a rather long name to fill the directory " + std::to_string(i)});
  }
  ASSERT_TRUE(
      RunTool({"mcopy", "-i", volume, (dir / "x64").string(), "::EFI/BOOT/BOOTX64.EFI"}).ok());
  GuestLayout layout = describe();
  EXPECT_TRUE(layout.firmware.uefi_x86_64);
  EXPECT_FALSE(layout.firmware.uefi_arm64);
  EXPECT_EQ(FirmwareName(layout.firmware), "UEFI");
  // The wrong machine's program, and the right one.
  RunTool({"mcopy", "-o", "-i", volume, (dir / "aa64").string(), "::EFI/BOOT/BOOTX64.EFI"});
  RunTool({"mcopy", "-i", volume, (dir / "aa64").string(), "::EFI/BOOT/BOOTAA64.EFI"});
  layout = describe();
  EXPECT_FALSE(layout.firmware.uefi_x86_64);
  EXPECT_TRUE(layout.firmware.uefi_arm64);
  EXPECT_EQ(layout.defects.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Fat, SystemPartition,
                         ::testing::Values(std::pair{"12", 4}, std::pair{"16", 20},
                                           std::pair{"32", 40}));

}  // namespace
}  // namespace vmferry::guest
