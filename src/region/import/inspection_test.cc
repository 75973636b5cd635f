// SPDX-License-Identifier: Apache-2.0
//
// The parts of the inspection that need no disk with a file system; tests/interop/region_imports
// has those.
#include "region/import/inspection.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "base/units.h"
#include "region/import/known_systems.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

TEST(KnownSystems, VersionsAndKernelsCount) {
  using enum SystemVerdict;
  EXPECT_EQ(JudgeSystem("debian", "12", "6.1.0-13-amd64"), kKnown);
  EXPECT_EQ(JudgeSystem("debian", "12", "6.1.0"), kKnown);
  EXPECT_EQ(JudgeSystem("debian", "12", "6.10.3-amd64"), kUnknownKernel);
  EXPECT_EQ(JudgeSystem("debian", "12", "4.15.0-1021-aws"), kUnknownKernel);
  EXPECT_EQ(JudgeSystem("debian", "13", "6.12.1"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("debian", "9", "4.9.0"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("ubuntu", "24.04", "6.11.0-9-generic"), kKnown);
  EXPECT_EQ(JudgeSystem("ubuntu", "24.10", "6.11.0-9-generic"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("centos", "7", "3.10.0-1160.el7.x86_64"), kKnown);
  EXPECT_EQ(JudgeSystem("rhel", "8.9", "4.18.0-513.el8.x86_64"), kKnown);
  EXPECT_EQ(JudgeSystem("rhel", "8.10", "4.18.0-553.el8.x86_64"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("rhel", "6.0", "2.6.32-71.el6.x86_64"), kUnknownKernel);
  EXPECT_EQ(JudgeSystem("rhel", "6.5", "2.6.32-431.el6.x86_64"), kKnown);
  EXPECT_EQ(JudgeSystem("gentoo", "2", "5.4.66-gentoo"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("debian", "", "6.1.0"), kUnknownSystem);
  EXPECT_EQ(JudgeSystem("debian", "12x", "6.1.0"), kUnknownSystem);
}

TEST(Release, ReadsOsReleaseAndOlderFiles) {
  const Release debian = ParseRelease(
      "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID='12'\n", "");
  EXPECT_EQ(debian.id, "debian");
  EXPECT_EQ(debian.version, "12");
  EXPECT_EQ(debian.pretty_name, "Debian GNU/Linux 12 (bookworm)");
  const Release centos = ParseRelease("", "CentOS release 6.8 (Final)\n");
  EXPECT_EQ(centos.id, "centos");
  EXPECT_EQ(centos.version, "6.8");
  EXPECT_EQ(ParseRelease("", "").id, "");
}

TEST(DefaultKernel, IsThatOfTheFirstEntry) {
  EXPECT_EQ(DefaultKernel("menuentry 'x' {\n\tlinux\t/boot/vmlinuz-6.1.0-13-amd64 root=x\n}\n"
                          "menuentry 'y' {\n\tlinux /boot/vmlinuz-5.10.0-1-amd64\n}\n"),
            "6.1.0-13-amd64");
  EXPECT_EQ(DefaultKernel("title x\n kernel /vmlinuz-2.6.32-431.el6.x86_64 ro\n"),
            "2.6.32-431.el6.x86_64");
  EXPECT_EQ(DefaultKernel("linux /boot/vmlinuz root=x\n"), "");
  EXPECT_EQ(DefaultKernel("linux /boot/vmlinuz-a)b\n"), "");
  EXPECT_EQ(DefaultKernel("blscfg\n"), "");
}

class Partitions : public ::testing::Test {
 protected:
  static std::string Number(std::uint64_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xff);
    return text;
  }
  static std::string Entry(int status, int type, std::uint64_t start, std::uint64_t length) {
    return Number(static_cast<std::uint64_t>(status), 4) +
           Number(static_cast<std::uint64_t>(type), 4) + Number(start, 4) + Number(length, 4);
  }
  static std::string Sector(const std::vector<std::string>& entries) {
    std::string sector(512, '\0');
    for (std::size_t i = 0; i < entries.size(); ++i) sector.replace(446 + 16 * i, 16, entries[i]);
    sector.replace(510, 2, "\x55\xaa");
    return sector;
  }
  PartitionTable Read(std::string disk) {
    disk.resize(kMiB, '\0');
    EXPECT_TRUE(sys::WriteWholeFile(dir_ / "d", disk));
    return ReadPartitions(sys::File::Open(dir_ / "d", sys::File::Mode::kRead).value()).value();
  }
  testing::TempDir dir_;
};

TEST_F(Partitions, PrimaryAndLogicalOnes) {
  std::string disk = Sector({Entry(0x80, 0x83, 8, 8), Entry(0, 0x05, 16, 100)});
  disk.resize(std::size_t{16} * 512, '\0');
  disk += Sector({Entry(0, 0x8e, 1, 4), Entry(0, 0x05, 8, 8)});
  disk.resize(std::size_t{24} * 512, '\0');
  disk += Sector({Entry(0, 0xef, 1, 4)});
  const PartitionTable table = Read(disk);
  EXPECT_EQ(table.kind, TableKind::kMbr);
  EXPECT_FALSE(table.boot_code);
  ASSERT_EQ(table.partitions.size(), 3U);
  EXPECT_EQ(table.partitions[0].name, "msdos1");
  EXPECT_EQ(table.partitions[1].name, "msdos5");
  EXPECT_TRUE(table.partitions[1].lvm);
  EXPECT_EQ(table.partitions[1].start_bytes, 17 * 512U);
  EXPECT_EQ(table.partitions[2].name, "msdos6");
  EXPECT_TRUE(table.partitions[2].efi_system);
}

TEST_F(Partitions, HostileTablesAreNone) {
  const std::vector<std::string> disks = {
      "",
      std::string(2048, '\xff'),
      Sector({}),
      Sector({Entry(7, 0x83, 8, 8)}),           // a file system's first sector
      Sector({Entry(0, 0x83, 1 << 30, 8)}),     // outside
      Sector({Entry(0, 0x83, 8, 0xffffffff)}),  // too long
      Sector({Entry(0, 0xee, 1, 2000)}),        // a GPT that is not there
      Sector({Entry(0, 0xee, 1, 2000)}) + "EFI PART" + std::string(504, '\xff')};
  for (const std::string& disk : disks) EXPECT_EQ(Read(disk).kind, TableKind::kNone);
  // A chain that bites its tail ends.
  std::string loop = Sector({Entry(0, 0x05, 16, 100)});
  loop.resize(std::size_t{16} * 512, '\0');
  loop += Sector({Entry(0, 0x83, 1, 1), Entry(0, 0x05, 16, 8)});
  loop.resize(std::size_t{32} * 512, '\0');
  loop += Sector({Entry(0, 0x83, 1, 1), Entry(0, 0x05, 16, 8)});
  EXPECT_LE(Read(loop).partitions.size(), 128U);
}

}  // namespace
}  // namespace vmferry::region
