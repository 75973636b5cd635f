// SPDX-License-Identifier: Apache-2.0
//
// The rules for chains, held by the root for all formats: which files a disk may name, how long a
// chain may be. QCOW2 files by qemu-img stand for all of them; it is told not to look at what it
// names (-u).
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/units.h"
#include "image/open.h"
#include "sys/file.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;
using testing::RunTool;
using testing::TempDir;

constexpr const char* kSize = "1M";

class ChainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    VMFERRY_NEEDS_TOOL("qemu-img");
    root_ = fs::canonical(folder_.path());
    fs::create_directories(root_ / "vm");
    fs::create_directories(root_ / "other");
  }

  /// A QCOW2 file whose backing file is called `parent`; without one when that is empty.
  fs::path MakeQcow2(const std::string& name, const std::string& parent = "",
                     const std::string& parent_format = "qcow2") const {
    const fs::path path = root_ / name;
    std::vector<std::string> words = {"qemu-img", "create", "-q", "-f", "qcow2"};
    if (!parent.empty()) words.insert(words.end(), {"-u", "-b", parent, "-F", parent_format});
    words.insert(words.end(), {path.string(), kSize});
    const auto made = RunTool(words);
    EXPECT_TRUE(made.ok()) << made.error_output;
    return path;
  }

  void PutRaw(const std::string& name, char fill) const {
    EXPECT_TRUE(sys::WriteWholeFile(root_ / name, std::string(kMiB, fill)).has_value());
  }

  std::string Refusal(const std::string& name, const OpenOptions& options = {}) const {
    const auto disk = OpenDisk((root_ / name).string(), options);
    if (disk) return "";
    EXPECT_FALSE(disk.error().message().empty());
    return disk.error().reason();
  }

  static std::byte FirstByte(const OpenedDisk& disk) {
    std::vector<std::byte> byte(1);
    EXPECT_TRUE(disk.image->Read(0, byte).has_value());
    return byte[0];
  }

  const TempDir folder_;
  fs::path root_;
};

TEST_F(ChainTest, FollowsParentsAndNamesThem) {
  PutRaw("vm/base.raw", 'b');
  MakeQcow2("vm/middle.qcow2", "base.raw", "raw");
  const fs::path top = MakeQcow2("vm/top.qcow2", "middle.qcow2");
  const auto disk = OpenDisk(top.string());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(FirstByte(*disk), std::byte{'b'});
  const auto& chain = disk->image->Info().chain;
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(chain[0].path, root_ / "vm/middle.qcow2");
  EXPECT_EQ(chain[0].format, "qcow2");
  EXPECT_EQ(chain[1].path, root_ / "vm/base.raw");
  EXPECT_EQ(chain[1].format, "raw");
  ASSERT_EQ(disk->files.size(), 3U);
  EXPECT_EQ(disk->files[0].role, FileRole::kDisk);
  EXPECT_EQ(disk->files[2].role, FileRole::kParent);
  EXPECT_EQ(disk->files[2].identity.size_bytes, kMiB);
}

TEST_F(ChainTest, ADeclaredRawParentIsRawWhateverItHolds) {
  // A guest that writes a QCOW2 header to its raw disk must not choose a file of the host.
  PutRaw("other/secret.raw", 's');
  MakeQcow2("vm/base.raw", (root_ / "other/secret.raw").string(), "raw");
  const fs::path top = MakeQcow2("vm/top.qcow2", "base.raw", "raw");
  const auto disk = OpenDisk(top.string());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(FirstByte(*disk), std::byte{'Q'});
}

TEST_F(ChainTest, RefusesParentsOutside) {
  PutRaw("other/base.raw", 'b');
  MakeQcow2("vm/up.qcow2", "../other/base.raw", "raw");
  EXPECT_EQ(Refusal("vm/up.qcow2"), "image.chain.outside");
  MakeQcow2("vm/absolute.qcow2", (root_ / "other/base.raw").string(), "raw");
  EXPECT_EQ(Refusal("vm/absolute.qcow2"), "image.chain.outside");
  MakeQcow2("vm/passwd.qcow2", "/etc/passwd", "raw");
  EXPECT_EQ(Refusal("vm/passwd.qcow2"), "image.chain.outside");
  MakeQcow2("vm/device.qcow2", "/dev/zero", "raw");
  EXPECT_EQ(Refusal("vm/device.qcow2"), "image.chain.outside");
  fs::create_symlink("../other/base.raw", root_ / "vm/link.raw");
  MakeQcow2("vm/linked.qcow2", "link.raw", "raw");
  EXPECT_EQ(Refusal("vm/linked.qcow2"), "image.chain.outside");
}

TEST_F(ChainTest, RefusesUris) {
  for (const char* name : {"nbd://127.0.0.1:1/disk", "json:{\"driver\":\"null-co\"}", "fat:/etc"}) {
    MakeQcow2("vm/top.qcow2", name, "raw");
    EXPECT_EQ(Refusal("vm/top.qcow2"), "image.chain.bad_name") << name;
  }
}

TEST_F(ChainTest, AllowPathOpensFurtherFolders) {
  PutRaw("other/base.raw", 'b');
  const fs::path top = MakeQcow2("vm/up.qcow2", "../other/base.raw", "raw");
  const auto disk = OpenDisk(top.string(), {.allow_paths = {root_ / "other"}});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(FirstByte(*disk), std::byte{'b'});
  // One folder is not all folders, nor one whose name begins alike.
  fs::create_directories(root_ / "oth");
  EXPECT_EQ(Refusal("vm/up.qcow2", {.allow_paths = {root_ / "vm"}}), "image.chain.outside");
  EXPECT_EQ(Refusal("vm/up.qcow2", {.allow_paths = {root_ / "oth"}}), "image.chain.outside");
}

TEST_F(ChainTest, AParentMayStandOnAnotherFolderOnlyWhenThatIsAllowed) {
  PutRaw("vm/base.raw", 'b');
  MakeQcow2("other/middle.qcow2", "base.raw", "raw");
  PutRaw("other/base.raw", 'o');
  const fs::path top = MakeQcow2("vm/top.qcow2", "../other/middle.qcow2");
  const auto disk = OpenDisk(top.string(), {.allow_paths = {root_ / "other"}});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  // Names are relative to the file that holds them.
  EXPECT_EQ(FirstByte(*disk), std::byte{'o'});
}

TEST_F(ChainTest, ALinkToTheDiskLeadsToItsOwnFolder) {
  PutRaw("vm/base.raw", 'b');
  MakeQcow2("vm/top.qcow2", "base.raw", "raw");
  fs::create_symlink("../vm/top.qcow2", root_ / "other/shortcut.qcow2");
  EXPECT_EQ(Refusal("other/shortcut.qcow2"), "");
}

TEST_F(ChainTest, RefusesLoops) {
  MakeQcow2("vm/self.qcow2", "self.qcow2");
  EXPECT_EQ(Refusal("vm/self.qcow2"), "image.chain.loop");
  MakeQcow2("vm/a.qcow2", "b.qcow2");
  MakeQcow2("vm/b.qcow2", "c.qcow2");
  MakeQcow2("vm/c.qcow2", "a.qcow2");
  EXPECT_EQ(Refusal("vm/a.qcow2"), "image.chain.loop");
  // A second name for the file is no way around.
  MakeQcow2("vm/hard.qcow2", "other-name.qcow2");
  fs::create_hard_link(root_ / "vm/hard.qcow2", root_ / "vm/other-name.qcow2");
  EXPECT_EQ(Refusal("vm/hard.qcow2"), "image.chain.loop");
}

TEST_F(ChainTest, ChainsMayBeLongButNotEndless) {
  // Each link is a copy of one file with another name in it: qemu-img takes its time.
  MakeQcow2("vm/disk-000.qcow2");
  MakeQcow2("vm/disk-001.qcow2", "disk-000.qcow2");
  const auto link = sys::ReadWholeFile(root_ / "vm/disk-001.qcow2", kMiB);
  ASSERT_TRUE(link.has_value());
  const std::size_t name = link->find("disk-000.qcow2");
  ASSERT_NE(name, link->npos);
  for (std::size_t i = 2; i <= kMaxChain; ++i) {
    std::string copy = *link;
    const std::string number = std::to_string(1000 + i - 1).substr(1);
    copy.replace(name + 5, 3, number);
    const std::string own = "vm/disk-" + std::to_string(1000 + i).substr(1) + ".qcow2";
    ASSERT_TRUE(sys::WriteWholeFile(root_ / own, copy).has_value());
  }
  EXPECT_EQ(Refusal("vm/disk-063.qcow2"), "");  // 64 disks
  EXPECT_EQ(Refusal("vm/disk-064.qcow2"), "image.chain.too_long");
}

TEST_F(ChainTest, PassesOverADiskThatOnlyHasTheParentsName) {
  const auto put = [&](const std::string& name, const std::string& id, const std::string& parent) {
    const std::string text = "# Disk DescriptorFile\nversion=1\nCID=" + id + "\n" + parent +
                             "createType=\"custom\"\nRW 8 ZERO\n";
    ASSERT_TRUE(sys::WriteWholeFile(root_ / name, text).has_value());
  };
  const std::string no_parent = "parentCID=ffffffff\n";
  put("other/base.vmdk", "33333333", no_parent);
  put("vm/base.vmdk", "11111111", no_parent);
  put("vm/top.vmdk", "22222222", "parentCID=11111111\nparentFileNameHint=\"../other/base.vmdk\"\n");
  const OpenOptions options = {.allow_paths = {root_ / "other"}};
  const auto disk = OpenDisk((root_ / "vm/top.vmdk").string(), options);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  ASSERT_EQ(disk->image->Info().chain.size(), 1U);
  EXPECT_EQ(disk->image->Info().chain[0].path, root_ / "vm/base.vmdk");
  EXPECT_EQ(disk->files.size(), 2U);
  fs::remove(root_ / "vm/base.vmdk");
  EXPECT_EQ(Refusal("vm/top.vmdk", options), "image.chain.parent_mismatch");
}

TEST_F(ChainTest, NamesParentsThatAreMissing) {
  MakeQcow2("vm/top.qcow2", "absent.qcow2");
  const auto disk = OpenDisk((root_ / "vm/top.qcow2").string());
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "image.chain.missing");
  EXPECT_NE(disk.error().message().find("absent.qcow2"), std::string::npos);
}

TEST_F(ChainTest, ParentsMustBeFiles) {
  fs::create_directories(root_ / "vm/folder");
  MakeQcow2("vm/folder.qcow2", "folder", "raw");
  EXPECT_EQ(Refusal("vm/folder.qcow2"), "io.is_directory");
  ASSERT_EQ(::mkfifo((root_ / "vm/pipe.raw").c_str(), 0600), 0);
  MakeQcow2("vm/pipe.qcow2", "pipe.raw", "raw");
  EXPECT_EQ(Refusal("vm/pipe.qcow2"), "image.not_a_file");
}

TEST_F(ChainTest, ReportsAParentOfAnotherFormatThanDeclared) {
  PutRaw("vm/base.raw", 'b');
  MakeQcow2("vm/top.qcow2", "base.raw", "qcow2");
  EXPECT_EQ(Refusal("vm/top.qcow2").substr(0, 6), "qcow2.");
}

TEST_F(ChainTest, AppliancesGiveNoWayOut) {
  // A disk that is not a file has no folder.
  PutRaw("vm/base.raw", 'b');
  const fs::path top = MakeQcow2("vm/top.qcow2", "base.raw", "raw");
  auto file = sys::File::Open(top, sys::File::Mode::kRead);
  ASSERT_TRUE(file.has_value());
  auto source = MakeFileSource(*std::move(file));
  ASSERT_TRUE(source.has_value());
  const auto disk = OpenDiskSource(*std::move(source), "top.qcow2");
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "image.chain.outside");
}

}  // namespace
}  // namespace vmferry::image
