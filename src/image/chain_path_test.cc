// SPDX-License-Identifier: Apache-2.0
#include "image/chain_path.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "sys/file.h"
#include "testing/temp_dir.h"

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

TEST(PathOfName, TakesPlainPaths) {
  for (const char* name :
       {"base.qcow2", "a/b/base.qcow2", "../base.qcow2", "/vms/base.qcow2", "a file.raw",
        "with\\backslash", "r\xc3\xa9sum\xc3\xa9.vmdk", "dir/name:with-colon"}) {
    const auto path = PathOfName(name, NameStyle::kUnix);
    ASSERT_TRUE(path.has_value()) << name;
    EXPECT_EQ(path->string(), name);
  }
}

TEST(PathOfName, TurnsWindowsSpellings) {
  const std::pair<const char*, const char*> cases[] = {
      {"base.vhdx", "base.vhdx"},
      {".\\base.vhdx", "./base.vhdx"},
      {"..\\base.vhdx", "../base.vhdx"},
      {"sub\\dir\\base.vhdx", "sub/dir/base.vhdx"},
      {"C:\\vms\\base.vhdx", "/vms/base.vhdx"},
      {"c:/vms/base.vhdx", "/vms/base.vhdx"},
      {"\\\\?\\C:\\vms\\base.vhdx", "/vms/base.vhdx"},
      {"\\\\.\\PhysicalDrive0", "/PhysicalDrive0"},
      {"\\vms\\base.vhdx", "/vms/base.vhdx"},
  };
  for (const auto& [name, expected] : cases) {
    const auto path = PathOfName(name, NameStyle::kWindows);
    ASSERT_TRUE(path.has_value()) << name << ": " << path.error().ToString();
    EXPECT_TRUE(path->is_absolute() == (*expected == '/')) << name;
    EXPECT_EQ(path->filename(), fs::path(expected).filename()) << name;
    if (std::string_view(name).substr(0, 4) != "\\\\.\\") {
      EXPECT_EQ(path->string(), expected) << name;
    }
  }
}

TEST(PathOfName, SharesAreAbsolute) {
  for (const char* name : {"\\\\host\\share\\base.vhdx", "\\\\?\\UNC\\host\\share\\base.vhdx",
                           "//host/share/base.vhdx"}) {
    const auto path = PathOfName(name, NameStyle::kWindows);
    ASSERT_TRUE(path.has_value()) << name;
    EXPECT_TRUE(path->is_absolute()) << name << " -> " << *path;
    EXPECT_EQ(path->filename(), "base.vhdx");
  }
}

TEST(PathOfName, RefusesWhatIsNoPath) {
  const std::string with_zero("a\0b", 3);
  for (const std::string& name :
       {std::string(), std::string("json:{\"driver\":\"raw\"}"), std::string("nbd://host/disk"),
        std::string("http://host/disk"), std::string("nbd:host:10809"), std::string("fd:0"),
        std::string("file:/etc/passwd"), std::string("a\nb"), std::string("\x7f"), with_zero,
        std::string(kMaxNameBytes + 1, 'a')}) {
    const auto path = PathOfName(name, NameStyle::kUnix);
    ASSERT_FALSE(path.has_value()) << name.substr(0, 40);
    EXPECT_EQ(path.error().reason(), "image.chain.bad_name");
    EXPECT_FALSE(path.error().remedy().empty());
  }
  for (const char* name : {"", "C:", "\\\\?\\", "http://host/disk", "C:D:\\file"}) {
    const auto path = PathOfName(name, NameStyle::kWindows);
    ASSERT_FALSE(path.has_value()) << name << " -> " << *path;
    EXPECT_EQ(path.error().reason(), "image.chain.bad_name");
  }
}

TEST(IsInside, ComparesWholeComponents) {
  EXPECT_TRUE(IsInside("/a/b", "/a"));
  EXPECT_TRUE(IsInside("/a/b", "/a/"));
  EXPECT_TRUE(IsInside("/a", "/a"));
  EXPECT_TRUE(IsInside("/a/b/c", "/a/b"));
  EXPECT_TRUE(IsInside("/a", "/"));
  EXPECT_FALSE(IsInside("/ab", "/a"));
  EXPECT_FALSE(IsInside("/a", "/a/b"));
  EXPECT_FALSE(IsInside("/b/a", "/a"));
  EXPECT_FALSE(IsInside("/", "/a"));
  EXPECT_FALSE(IsInside("", "/a"));
}

class ResolveInsideTest : public ::testing::Test {
 protected:
  ResolveInsideTest() {
    root_ = fs::canonical(folder_.path());
    fs::create_directories(root_ / "vm/parents");
    fs::create_directories(root_ / "vm-other");
    for (const char* name : {"vm/disk", "vm/parents/base", "vm-other/secret"}) {
      EXPECT_TRUE(sys::WriteWholeFile(root_ / name, "x").has_value());
    }
  }

  std::string Resolve(const fs::path& name, const fs::path& folder = "vm") const {
    const auto resolved = ResolveInside(name, root_ / folder, {root_ / "vm"});
    if (resolved) return fs::path(*resolved).lexically_relative(root_).string();
    return resolved.error().reason();
  }

  const TempDir folder_;
  fs::path root_;
};

TEST_F(ResolveInsideTest, FindsFilesBesideAndBelow) {
  EXPECT_EQ(Resolve("disk"), "vm/disk");
  EXPECT_EQ(Resolve("./parents/base"), "vm/parents/base");
  EXPECT_EQ(Resolve("parents/../disk"), "vm/disk");
  EXPECT_EQ(Resolve("../disk", "vm/parents"), "vm/disk");
  EXPECT_EQ(Resolve(root_ / "vm/disk"), "vm/disk");
}

TEST_F(ResolveInsideTest, RefusesWhatLiesOutside) {
  EXPECT_EQ(Resolve("../vm-other/secret"), "image.chain.outside");
  EXPECT_EQ(Resolve(root_ / "vm-other/secret"), "image.chain.outside");
  EXPECT_EQ(Resolve("/etc/passwd"), "image.chain.outside");
  EXPECT_EQ(Resolve("/dev/zero"), "image.chain.outside");
  EXPECT_EQ(Resolve("parents/../../vm-other/secret"), "image.chain.outside");
  EXPECT_EQ(Resolve(".."), "image.chain.outside");
}

TEST_F(ResolveInsideTest, DoesNotTellWhatExistsOutside) {
  EXPECT_EQ(Resolve("../vm-other/absent"), "image.chain.outside");
  EXPECT_EQ(Resolve("/no/such/file"), "image.chain.outside");
  EXPECT_EQ(Resolve("absent/../../vm-other/absent"), "image.chain.outside");
}

TEST_F(ResolveInsideTest, SaysWhatIsMissingInside) {
  EXPECT_EQ(Resolve("absent"), "image.chain.missing");
  EXPECT_EQ(Resolve("absent/base"), "image.chain.missing");
  EXPECT_EQ(Resolve("disk/base"), "image.chain.missing");
}

TEST_F(ResolveInsideTest, FollowsLinksBeforeItJudges) {
  fs::create_symlink("../vm-other/secret", root_ / "vm/link");
  fs::create_directory_symlink("../vm-other", root_ / "vm/folder-link");
  fs::create_symlink("parents/base", root_ / "vm/good-link");
  fs::create_symlink("loop", root_ / "vm/loop");
  fs::create_symlink("/no/such/file", root_ / "vm/dangling");
  EXPECT_EQ(Resolve("link"), "image.chain.outside");
  EXPECT_EQ(Resolve("folder-link/secret"), "image.chain.outside");
  EXPECT_EQ(Resolve("folder-link/../disk"), "image.chain.outside");  // is /…/disk beside vm
  EXPECT_EQ(Resolve("good-link"), "vm/parents/base");
  EXPECT_NE(Resolve("loop"), "vm/loop");
  EXPECT_NE(Resolve("dangling"), "vm/dangling");
}

TEST_F(ResolveInsideTest, FurtherRootsAllowMore) {
  const auto resolved =
      ResolveInside("../vm-other/secret", root_ / "vm", {root_ / "vm", root_ / "vm-other"});
  ASSERT_TRUE(resolved.has_value());
  EXPECT_EQ(*resolved, root_ / "vm-other/secret");
}

}  // namespace
}  // namespace vmferry::image
