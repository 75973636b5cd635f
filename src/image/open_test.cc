// SPDX-License-Identifier: Apache-2.0
#include "image/open.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/byte_reader.h"
#include "base/units.h"
#include "sys/file.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vmdk_builder.h"

namespace vmferry::image {
namespace {

using testing::RunTool;
using testing::TempDir;

std::filesystem::path Put(const TempDir& folder, std::string_view name, std::string_view content) {
  const auto path = folder / name;
  EXPECT_TRUE(sys::WriteWholeFile(path, content).has_value());
  return path;
}

/// The reason why the disk is refused; "" when it is not.
std::string Refusal(const std::filesystem::path& path) {
  const auto disk = OpenDisk(path);
  if (disk) return "";
  EXPECT_FALSE(disk.error().message().empty());
  return disk.error().reason();
}

TEST(OpenDisk, TakesRawDisksByTheirExtension) {
  const TempDir folder;
  const std::string content(1024, 'x');
  for (const char* name : {"disk.raw", "disk.img", "disk.IMG", "disk.bin", "disk.dd", "disk"}) {
    const auto disk = OpenDisk(Put(folder, name, content));
    ASSERT_TRUE(disk.has_value()) << name << ": " << disk.error().ToString();
    EXPECT_EQ(disk->image->Info().format, "raw");
    EXPECT_EQ(disk->image->Info().wire_format, "RAW");
    EXPECT_EQ(disk->image->SizeBytes(), 1024U);
  }
}

TEST(OpenDisk, RefusesGarbageThatIsNamedForAFormat) {
  const TempDir folder;
  const std::string text(2000, 't');
  for (const char* name : {"disk.vmdk", "disk.VMDK", "disk.vhd", "disk.vhdx", "disk.qcow2",
                           "disk.ova", "disk.ovf", "disk.vdi"}) {
    EXPECT_EQ(Refusal(Put(folder, name, text)), "image.extension_mismatch") << name;
  }
  EXPECT_EQ(Refusal(Put(folder, "notes.txt", text)), "image.unknown_format");
  EXPECT_EQ(Refusal(Put(folder, "short.vmdk", "hello\n")), "image.extension_mismatch");
}

TEST(OpenDisk, RefusesWhatIsNoDisk) {
  const TempDir folder;
  EXPECT_EQ(Refusal(folder / "absent.raw"), "io.not_found");
  EXPECT_EQ(Refusal(folder.path()), "io.is_directory");
  EXPECT_EQ(Refusal(Put(folder, "empty.raw", "")), "image.empty");
  EXPECT_EQ(Refusal(Put(folder, "empty.vmdk", "")), "image.empty");
  EXPECT_EQ(Refusal(Put(folder, "small.raw", "0123456789")), "image.too_small");
  EXPECT_EQ(Refusal("/dev/zero"), "image.not_a_file");
  ASSERT_EQ(::mkfifo((folder / "fifo.raw").c_str(), 0600), 0);
  EXPECT_EQ(Refusal(folder / "fifo.raw"), "image.not_a_file");
}

TEST(OpenDisk, RefusesSockets) {
  const TempDir folder;
  const std::string path = folder / "socket.raw";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  std::copy(path.begin(), path.end(), address.sun_path);
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(Refusal(path), "image.not_a_file");
  ::close(descriptor);
}

TEST(OpenDisk, RefusesUnreadableFiles) {
  constexpr uid_t kNobody = 65534;
  const TempDir folder;
  const auto path = Put(folder, "disk.raw", std::string(1024, 'x'));
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  ASSERT_EQ(::chmod(folder.path().c_str(), 0711), 0);
  // Root may read everything: it looks as somebody else.
  const uid_t user = ::geteuid();
  if (user == 0) {
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const std::string refusal = Refusal(path);
  if (user == 0) {
    ASSERT_EQ(::seteuid(user), 0);
  }
  EXPECT_EQ(refusal, "io.permission_denied");
}

TEST(OpenDisk, NamesFormatsThatAreNotReadYet) {
  struct Case {
    const char* extension;
    std::size_t offset;
    std::string signature;
    const char* name;
  };
  const std::vector<Case> cases = {
      {"vdi", 64, "\x7f\x10\xda\xbe", "VDI"},
      {"qed", 0, std::string("QED\0", 4), "QED"},
      {"gz", 0, "\x1f\x8b\x08", "compressed"},
      {"hds", 0, "WithoutFreeSpace", "Parallels"},
  };
  const TempDir folder;
  for (const Case& tested : cases) {
    std::string content(4096, '\0');
    content.replace(tested.offset, tested.signature.size(), tested.signature);
    // Neither the right extension nor the one of raw disks makes a difference.
    for (const std::string& name :
         {std::string("disk.") + tested.extension, std::string("d.raw")}) {
      const auto disk = OpenDisk(Put(folder, name, content));
      ASSERT_FALSE(disk.has_value()) << name;
      EXPECT_EQ(disk.error().reason(), "image.unsupported_format");
      EXPECT_NE(disk.error().message().find(tested.name), std::string::npos)
          << disk.error().message();
      EXPECT_FALSE(disk.error().remedy().empty());
    }
  }
}

TEST(OpenDisk, NamesWhatQemuImgMakes) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  struct Case {
    const char* format;
    const char* options;
    const char* reason;
  };
  for (const Case& tested : {Case{"qed", "cluster_size=64k", "image.unsupported_format"},
                             Case{"vdi", "static=off", "image.unsupported_format"}}) {
    const auto path = folder / "disk";
    const auto made = RunTool(
        {"qemu-img", "create", "-q", "-f", tested.format, "-o", tested.options, path, "8M"});
    ASSERT_TRUE(made.ok()) << made.error_output;
    EXPECT_EQ(Refusal(path), tested.reason) << tested.format << " " << tested.options;
  }
}

TEST(OpenDisk, ContentCountsMoreThanTheName) {
  const TempDir folder;
  const auto vmdk = testing::VmdkBuilder{}.Build();
  const auto disk = OpenDisk(Put(folder, "disk.raw", AsText(vmdk)));
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->Info().format, "vmdk");
}

TEST(OpenDisk, ErrorsOfTheFormatNameTheFile) {
  const TempDir folder;
  const auto path = Put(folder, "cut.vmdk", "KDMV");
  const auto disk = OpenDisk(path);
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "vmdk.header.truncated");
  ASSERT_NE(disk.error().FindFact("path"), nullptr);
  EXPECT_EQ(*disk.error().FindFact("path"), path.string());
}

TEST(RawDisk, HolesOfTheFileAreHolesOfTheDisk) {
  const TempDir folder;
  const auto path = folder / "sparse.raw";
  const std::string block(64 * 1024, 'x');
  {
    const auto file = sys::File::Open(path, sys::File::Mode::kCreateNew);
    ASSERT_TRUE(file.has_value());
    ASSERT_TRUE(file->Truncate(4 * kMiB).has_value());
    ASSERT_TRUE(file->WriteAt(kMiB, AsBytes(block)).has_value());
  }
  const auto disk = OpenDisk(path);
  ASSERT_TRUE(disk.has_value());
  const auto extents = disk->image->Extents(0, 4 * kMiB);
  ASSERT_TRUE(extents.has_value());
  if (extents->size() == 1) GTEST_SKIP() << "this file system does not tell its holes";
  EXPECT_EQ(*extents, (std::vector<Extent>{
                          {0, kMiB, ExtentKind::kHole},
                          {kMiB, block.size(), ExtentKind::kData},
                          {kMiB + block.size(), 3 * kMiB - block.size(), ExtentKind::kHole}}));
  const auto part = disk->image->Extents(kMiB - 1, 2);
  ASSERT_TRUE(part.has_value());
  EXPECT_EQ(*part,
            (std::vector<Extent>{{kMiB - 1, 1, ExtentKind::kHole}, {kMiB, 1, ExtentKind::kData}}));
  std::vector<std::byte> bytes(2);
  ASSERT_TRUE(disk->image->Read(kMiB - 1, bytes).has_value());
  EXPECT_EQ(bytes, (std::vector<std::byte>{std::byte{0}, std::byte{'x'}}));
}

TEST(RawDisk, SizeThatIsNotInSectorsIsADefect) {
  const TempDir folder;
  const auto disk = OpenDisk(Put(folder, "odd.raw", std::string(1000, 'x')));
  ASSERT_TRUE(disk.has_value());
  EXPECT_EQ(disk->image->SizeBytes(), 1000U);
  EXPECT_EQ(disk->image->Info().defects.size(), 1U);
}

TEST(RawDisk, RefusesToReadPastTheEnd) {
  const TempDir folder;
  const auto disk = OpenDisk(Put(folder, "disk.raw", std::string(1024, 'x')));
  ASSERT_TRUE(disk.has_value());
  std::vector<std::byte> bytes(2);
  const auto read = disk->image->Read(1023, bytes);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().reason(), "image.read_past_end");
  EXPECT_FALSE(disk->image->Extents(1000, ~std::uint64_t{0}).has_value());
}

}  // namespace
}  // namespace vmferry::image
