// SPDX-License-Identifier: Apache-2.0
#include "image/in_use.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "image/open.h"
#include "sys/process.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image {
namespace {

using testing::TempDir;

std::filesystem::path MakeDisk(const TempDir& folder) {
  const auto path = folder / "disk.raw";
  EXPECT_TRUE(sys::WriteWholeFile(path, std::string(4096, 'x')).has_value());
  return path;
}

std::string Refusal(const std::filesystem::path& path, const OpenOptions& options = {}) {
  const auto disk = OpenDisk(path, options);
  return disk ? "" : disk.error().reason();
}

/// A qemu-storage-daemon that has the disk open until the end of the test.
class StorageDaemon {
 public:
  StorageDaemon(const TempDir& folder, const std::filesystem::path& disk, bool writes) {
    const auto pid_file = folder / "daemon.pid";
    const auto started = sys::StartProcess(
        {.arguments = {"qemu-storage-daemon", "--pidfile", pid_file, "--blockdev",
                       fmt::format("driver=file,node-name=f,filename={},locking=on,read-only={}",
                                   disk.string(), writes ? "off" : "on"),
                       "--export",
                       fmt::format(
                           "type=vhost-user-blk,id=e,node-name=f,writable={},addr.type=unix,"
                           "addr.path={}",
                           writes ? "on" : "off", (folder / "socket").string())},
         .stderr_path = folder / "stderr"});
    EXPECT_TRUE(started.has_value());
    if (!started) return;
    pid_ = *started;
    // The pid file is written once everything is open.
    for (int i = 0; i < 1000 && !std::filesystem::exists(pid_file); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    const auto words = sys::ReadWholeFile(folder / "stderr", 4096);
    EXPECT_TRUE(std::filesystem::exists(pid_file)) << (words ? *words : "");
  }
  ~StorageDaemon() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
};

TEST(InUse, DiskNobodyHoldsIsFree) {
  const TempDir folder;
  EXPECT_EQ(Refusal(MakeDisk(folder)), "");
}

TEST(InUse, DiskThatQemuWritesToIsRefused) {
  VMFERRY_NEEDS_TOOL("qemu-storage-daemon");
  const TempDir folder;
  const auto path = MakeDisk(folder);
  {
    const StorageDaemon daemon(folder, path, true);
    EXPECT_EQ(Refusal(path), "image.in_use");
    EXPECT_EQ(Refusal(path, {.allow_running = true}), "");
  }
  EXPECT_EQ(Refusal(path), "");
}

TEST(InUse, DiskThatQemuOnlyReadsIsFree) {
  VMFERRY_NEEDS_TOOL("qemu-storage-daemon");
  const TempDir folder;
  const auto path = MakeDisk(folder);
  const StorageDaemon daemon(folder, path, false);
  EXPECT_EQ(Refusal(path), "");
}

TEST(InUse, VmwareLockFolderBesideTheDiskRefusesIt) {
  const TempDir folder;
  const auto path = MakeDisk(folder);
  std::filesystem::create_directory(folder / "disk.raw.lck");
  EXPECT_EQ(Refusal(path), "") << "an empty folder is what a finished run leaves behind";
  ASSERT_TRUE(sys::WriteWholeFile(folder / "disk.raw.lck" / "M12345.lck", "host").has_value());
  EXPECT_EQ(Refusal(path), "image.in_use");
  std::filesystem::create_symlink(path, folder / "link.raw");
  EXPECT_EQ(Refusal(folder / "link.raw"), "image.in_use");
  EXPECT_EQ(Refusal(path, {.allow_running = true}), "");
}

TEST(InUse, VmwareLockFileOnNfsRefusesTheDisk) {
  const TempDir folder;
  const auto path = MakeDisk(folder);
  const auto file = sys::File::Open(path, sys::File::Mode::kRead);
  ASSERT_TRUE(file.has_value());
  const auto identity = file->Identity();
  ASSERT_TRUE(identity.has_value());
  ASSERT_TRUE(sys::WriteWholeFile(folder / ".lck-0000000000000000", "other disk").has_value());
  EXPECT_EQ(Refusal(path), "");
  ASSERT_TRUE(sys::WriteWholeFile(
                  folder / fmt::format(".lck-{:016x}", __builtin_bswap64(identity->inode)), "host")
                  .has_value());
  EXPECT_EQ(Refusal(path), "image.in_use");
}

}  // namespace
}  // namespace vmferry::image
