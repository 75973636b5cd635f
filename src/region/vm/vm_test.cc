// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "region/vm/disk_tool.h"
#include "region/vm/ids.h"
#include "region/vm/qemu.h"
#include "region/vm/snapshot_file.h"
#include "region/vm/states.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"

namespace vmferry::region::vm {
namespace {

TEST(Ids, HaveTheFormsOfAws) {
  testing::FakeRandom random(7);
  const std::string id = NewResourceId(random, "i-");
  EXPECT_EQ(id.size(), 2U + 17U);
  EXPECT_EQ(id.substr(0, 3), "i-0");
  EXPECT_TRUE(IsResourceId(id, "i-"));
  const std::string task = NewTaskId(random, "import-i-");
  EXPECT_EQ(task.size(), 9U + 8U);
  EXPECT_TRUE(IsTaskId(task, "import-i-"));
}

TEST(Ids, OthersAreMalformed) {
  EXPECT_TRUE(IsResourceId("vol-0a1b2c3d", "vol-"));
  for (const char* bad : {"", "vol-", "vol-0a1b2c3", "vol-0A1B2C3D", "snap-0a1b2c3d",
                          "vol-0a1b2c3g", "vol-../../etc", "vol-0123456789abcdef01"}) {
    EXPECT_FALSE(IsResourceId(bad, "vol-")) << bad;
  }
  for (const char* bad : {"import-i-short", "import-i-../../etc/x", "import-vol-abcdefgh"}) {
    EXPECT_FALSE(IsTaskId(bad, "import-i-")) << bad;
  }
}

// Every pair of states, against the list written out once more.
TEST(States, InstancesFollowTheirTable) {
  using enum InstanceState;
  const std::set<std::pair<InstanceState, InstanceState>> allowed = {
      {kPending, kRunning},      {kPending, kStopped},        {kPending, kShuttingDown},
      {kRunning, kStopping},     {kRunning, kStopped},        {kRunning, kShuttingDown},
      {kStopping, kStopped},     {kStopping, kShuttingDown},  {kStopped, kPending},
      {kStopped, kShuttingDown}, {kShuttingDown, kTerminated}};
  const auto all = {kPending, kRunning, kShuttingDown, kTerminated, kStopping, kStopped};
  for (const InstanceState from : all) {
    for (const InstanceState to : all) {
      EXPECT_EQ(MayFollow(from, to), allowed.contains({from, to}))
          << StateName(from) << " to " << StateName(to);
    }
  }
}

TEST(States, VolumesFollowTheirTable) {
  using enum VolumeState;
  const std::set<std::pair<VolumeState, VolumeState>> allowed = {
      {kCreating, kAvailable}, {kCreating, kError},  {kCreating, kDeleting}, {kAvailable, kInUse},
      {kAvailable, kDeleting}, {kInUse, kAvailable}, {kInUse, kDeleting},    {kError, kDeleting}};
  const auto all = {kCreating, kAvailable, kInUse, kDeleting, kError};
  for (const VolumeState from : all) {
    for (const VolumeState to : all) {
      EXPECT_EQ(MayFollow(from, to), allowed.contains({from, to}))
          << StateName(from) << " to " << StateName(to);
    }
  }
}

TEST(States, SnapshotsEndOnce) {
  using enum SnapshotState;
  for (const SnapshotState from : {kPending, kCompleted, kError}) {
    for (const SnapshotState to : {kPending, kCompleted, kError}) {
      EXPECT_EQ(MayFollow(from, to), from == kPending && to != kPending);
    }
  }
}

TEST(DiskTool, ReadsProgressOfQemuImg) {
  EXPECT_EQ(LastPercent("    (0.00/100%)\r    (49.52/100%)\r"), 49);
  EXPECT_EQ(LastPercent("    (100.00/100%)\r\n"), 100);
  EXPECT_EQ(LastPercent(""), -1);
  EXPECT_EQ(LastPercent("(/100%)"), -1);
}

TEST(DiskTool, CountsWrittenZeroesAsWritten) {
  const auto run = ParseMapLine(
      R"([{ "start": 1048576, "length": 65536, "depth": 0, "present": true, "zero": true, "data": false},)");
  ASSERT_TRUE(run) << run.error().ToString();
  EXPECT_EQ(run->start_bytes, 1048576U);
  EXPECT_EQ(run->length_bytes, 65536U);
  EXPECT_TRUE(run->written);
}

TEST(DiskTool, CountsBackingFileAndNothingAsUnwritten) {
  const auto absent = ParseMapLine(
      R"({ "start": 0, "length": 65536, "depth": 0, "present": false, "zero": true, "data": false}])");
  ASSERT_TRUE(absent);
  EXPECT_FALSE(absent->written);
  const auto below = ParseMapLine(
      R"({ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "offset": 0},)");
  ASSERT_TRUE(below);
  EXPECT_FALSE(below->written);
  EXPECT_FALSE(ParseMapLine("nonsense"));
}

TEST(Qemu, ConfinesTheGuest) {
  const auto command = QemuCommand(
      {.instance_id = "i-0123456789abcdef0",
       .disks = {{.volume_id = "vol-0123456789abcdef0", .file = "vol-0123456789abcdef0.qcow2"}},
       .memory_mib = 1024,
       .processors = 2,
       .ssh_port = 4022});
  const auto has = [&](std::string_view text) {
    return std::any_of(command.begin(), command.end(),
                       [&](const std::string& a) { return a.find(text) != a.npos; });
  };
  EXPECT_TRUE(has("restrict=on,hostfwd=tcp:127.0.0.1:4022-:22"));
  EXPECT_TRUE(has("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"));
  EXPECT_TRUE(
      has("nvme,addr=0x3,id=dev-vol-0123456789abcdef0,drive=vol-0123456789abcdef0,"
          "serial=vol0123456789abcdef0,bootindex=0"));
  EXPECT_FALSE(has("kvm"));
  // Nothing absolute: the folder may lie where the unprivileged user cannot go.
  EXPECT_FALSE(std::any_of(command.begin(), command.end(),
                           [](const std::string& a) { return a.starts_with("/"); }));
}

TEST(Qemu, KnowsInstanceTypes) {
  ASSERT_TRUE(FindInstanceType("t3.small"));
  EXPECT_EQ(FindInstanceType("t3.small")->memory_mib, 2048U);
  EXPECT_FALSE(FindInstanceType("t3.imaginary"));
}

TEST(BlockMap, MarksEveryBlockTouched) {
  BlockMap map(kGiB);
  EXPECT_EQ(map.block_count(), 2048U);
  map.Mark(kEbsBlockBytes - 1, 2);
  map.Mark(kGiB - 1, 10 * kGiB);
  EXPECT_EQ(map.CountWritten(), 3U);
  EXPECT_EQ(map.Next(0), 0U);
  EXPECT_EQ(map.Next(1), 1U);
  EXPECT_EQ(map.Next(2), 2047U);
  EXPECT_EQ(map.Next(2048), std::nullopt);
}

class SnapshotFiles : public ::testing::Test {
 protected:
  // Block 0 written with ones, block 5 written with zeroes, block 2047 written with twos.
  void Make() {
    const auto raw = sys::File::Open(dir_ / "snap-1.raw", sys::File::Mode::kCreate);
    ASSERT_TRUE(raw);
    ASSERT_TRUE(raw->Truncate(kGiB));
    ASSERT_TRUE(raw->WriteAt(0, std::vector<std::byte>(kEbsBlockBytes, std::byte{1})));
    ASSERT_TRUE(
        raw->WriteAt(2047 * kEbsBlockBytes, std::vector<std::byte>(kEbsBlockBytes, std::byte{2})));
    BlockMap map(kGiB);
    for (const std::uint64_t index : {0U, 5U, 2047U}) map.Mark(index * kEbsBlockBytes, 1);
    const auto made = SnapshotFile::Complete(dir_.path(), "snap-1", map, {}, {});
    ASSERT_TRUE(made) << made.error().ToString();
  }
  testing::TempDir dir_;
};

TEST_F(SnapshotFiles, GiveBackBlocksAndLeaves) {
  Make();
  const auto snapshot = SnapshotFile::Open(dir_.path(), "snap-1");
  ASSERT_TRUE(snapshot) << snapshot.error().ToString();
  EXPECT_EQ(snapshot->written_count(), 3U);
  for (const std::uint64_t index : {0U, 5U, 2047U}) {
    std::vector<std::byte> block(kEbsBlockBytes);
    ASSERT_TRUE(snapshot->Read(index, block));
    EXPECT_EQ(snapshot->Leaf(index).value(), codec::Sha256(block)) << index;
  }
}

TEST_F(SnapshotFiles, RefuseDamage) {
  Make();
  std::filesystem::resize_file(dir_ / "snap-1.leaves", 64);
  const auto snapshot = SnapshotFile::Open(dir_.path(), "snap-1");
  ASSERT_FALSE(snapshot);
  EXPECT_EQ(snapshot.error().reason(), "region.snapshot_damaged");
}

}  // namespace
}  // namespace vmferry::region::vm
