// SPDX-License-Identifier: Apache-2.0
//
// Volumes, snapshots and instances with the real qemu-img and QEMU. The guest's part needs
// VMFERRY_TEST_TINY_GUEST, the path of a raw disk that boots (tools/make-guest --kind tiny).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>

#include "region/vm/ids.h"
#include "region/vm/instances.h"
#include "testing/temp_dir.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// One region's worth of disks and instances; Reopen stands for a crash and a new start.
class Guests : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.folder = dir_.path();
    Open();
  }
  void TearDown() override {
    if (instances_) instances_->Stop({clock_.DeadlineIn(seconds(5)), {}});
    if (disks_) disks_->Stop({});
  }
  void Open() {
    auto database = Database::Open(dir_ / "region.db");
    ASSERT_TRUE(database) << database.error().ToString();
    database_ = std::move(*database);
    faults_ = FaultRules::Open(*database_).value();
    context_.emplace(Context{clock_, random_, log_, *database_, settings_, *faults_});
    auto disks = Disks::Open(*context_, sandbox_);
    ASSERT_TRUE(disks) << disks.error().ToString();
    disks_ = std::move(*disks);
    auto instances = Instances::Open(*context_, sandbox_, *disks_,
                                     {.memory_mib_max = 256, .stop_patience = seconds(30)});
    ASSERT_TRUE(instances) << instances.error().ToString();
    instances_ = std::move(*instances);
    ASSERT_TRUE(disks_->Start());
    ASSERT_TRUE(instances_->Start());
  }
  void Reopen() {
    instances_.reset();  // the keeper ends, the processes stay: what kill -9 leaves behind
    disks_.reset();
    context_.reset();
    faults_.reset();
    database_.reset();
    Open();
  }
  // A volume of 1 GiB made from a raw file.
  std::string MakeVolume(const std::filesystem::path& raw) {
    const std::filesystem::path work = dir_ / "work";
    std::filesystem::create_directories(work);
    std::filesystem::copy_file(raw, work / "disk",
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_TRUE(sandbox_.Give(work));
    EXPECT_TRUE(sandbox_.Give(work / "disk"));
    const auto converted = disks_->tool().Convert(work,
                                                  {.source = "disk",
                                                   .source_format = "raw",
                                                   .target = "out.qcow2",
                                                   .target_format = "qcow2",
                                                   .target_bytes_max = 2 * kGiB},
                                                  {});
    EXPECT_TRUE(converted) << converted.error().ToString();
    EXPECT_TRUE(disks_->tool().Resize(work, "out.qcow2", kGiB, {}));
    const std::string id = NewResourceId(random_, "vol-");
    EXPECT_TRUE(
        disks_->Adopt({.id = id, .size_gib = 1, .zone = "us-east-1a"}, work / "out.qcow2", {}));
    return id;
  }
  Snapshot Completed(const std::string& id) {
    for (int i = 0; i < 300; ++i) {
      const auto snapshot = disks_->FindSnapshot(id);
      if (snapshot && snapshot->state != SnapshotState::kPending) return *snapshot;
      clock_.SleepFor(milliseconds(100), {});
    }
    return {};
  }
  template <typename Predicate>
  bool Eventually(Predicate predicate, seconds patience) {
    const Deadline deadline = clock_.DeadlineIn(patience);
    while (!deadline.Passed(clock_.MonotonicNow())) {
      if (predicate()) return true;
      clock_.SleepFor(milliseconds(50), {});
    }
    return false;
  }
  bool Reaches(const std::string& id, InstanceState state, seconds patience) {
    return Eventually([&] { return instances_->Find(id)->state == state; }, patience);
  }

  testing::TempDir dir_;
  sys::SystemClock clock_;
  sys::SystemRandom random_;
  NullLog log_;
  Settings settings_;
  Sandbox sandbox_ = Sandbox::ForThisProcess();
  std::unique_ptr<Database> database_;
  std::unique_ptr<FaultRules> faults_;
  std::optional<Context> context_;
  std::unique_ptr<Disks> disks_;
  std::unique_ptr<Instances> instances_;
};

std::filesystem::path SmallDisk(const testing::TempDir& dir) {
  const std::filesystem::path path = dir / "small.raw";
  const auto file = sys::File::Open(path, sys::File::Mode::kCreate);
  EXPECT_TRUE(file->Truncate(3 * kMiB));
  EXPECT_TRUE(file->WriteAt(kMiB, std::vector<std::byte>(1000, std::byte{7})));
  return path;
}

TEST_F(Guests, SnapshotHoldsWhatTheVolumeHeld) {
  const std::string volume = MakeVolume(SmallDisk(dir_));
  const auto pending = disks_->CreateSnapshot(volume, "one", {{"Name", "x"}});
  ASSERT_TRUE(pending) << pending.error().ToString();
  const Snapshot done = Completed(pending->id);
  ASSERT_EQ(done.state, SnapshotState::kCompleted) << done.message;
  EXPECT_EQ(done.written_blocks, 1U);
  const auto file = disks_->OpenSnapshot(done.id);
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ((*file)->map().Next(0), 2U);
  std::vector<std::byte> block(kEbsBlockBytes);
  ASSERT_TRUE((*file)->Read(2, block));
  EXPECT_EQ(block[999], std::byte{7});
  EXPECT_EQ(block[1000], std::byte{0});
  EXPECT_EQ((*file)->Leaf(2).value(), codec::Sha256(block));
  EXPECT_TRUE(disks_->DeleteSnapshot(done.id));
  EXPECT_FALSE(disks_->FindSnapshot(done.id));
}

TEST_F(Guests, FlippedByteIsInTheNextSnapshot) {
  const std::string volume = MakeVolume(SmallDisk(dir_));
  const auto flipped = disks_->FlipByte(volume, kMiB + 3);
  ASSERT_TRUE(flipped) << flipped.error().ToString();
  const Snapshot done = Completed(disks_->CreateSnapshot(volume, "", {})->id);
  std::vector<std::byte> block(kEbsBlockBytes);
  ASSERT_TRUE(disks_->OpenSnapshot(done.id).value()->Read(2, block));
  EXPECT_EQ(block[2], std::byte{7});
  EXPECT_EQ(block[3], std::byte{0xf8});
  EXPECT_EQ(disks_->FlipByte(volume, kGiB).error().reason(), "region.offset_past_end");
}

TEST_F(Guests, LeftoversOfACrashAreSwept) {
  const std::string volume = MakeVolume(SmallDisk(dir_));
  const auto orphan = disks_->folder() / "vol-0000000000000000f.qcow2";
  ASSERT_TRUE(sys::WriteWholeFile(orphan, "x"));
  const Snapshot pending = *disks_->CreateSnapshot(volume, "", {});
  Reopen();
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_TRUE(disks_->FindVolume(volume));
  EXPECT_EQ(Completed(pending.id).state, SnapshotState::kCompleted);
}

TEST_F(Guests, InstanceWithoutRootVolumeDoesNotStart) {
  const std::string id = NewResourceId(random_, "i-");
  ASSERT_TRUE(instances_->Add({.id = id, .type = "t3.micro"}, {}));
  const auto started = instances_->StartInstance(id);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().reason(), "region.no_root_volume");
  ASSERT_TRUE(instances_->TerminateInstance(id));
  EXPECT_TRUE(Reaches(id, InstanceState::kTerminated, seconds(10)));
}

TEST_F(Guests, TinyGuestBootsIsAdoptedAndPowersDown) {
  const char* disk = std::getenv("VMFERRY_TEST_TINY_GUEST");
  if (disk == nullptr) GTEST_SKIP() << "VMFERRY_TEST_TINY_GUEST is not set";
  const std::string volume = MakeVolume(disk);
  const std::string id = NewResourceId(random_, "i-");
  ASSERT_TRUE(instances_->Add({.id = id, .type = "t3.micro"}, {}));
  ASSERT_TRUE(disks_->Attach(volume, id, "/dev/sda1", true));
  const auto begun = clock_.MonotonicNow();
  ASSERT_TRUE(instances_->StartInstance(id));
  ASSERT_TRUE(Reaches(id, InstanceState::kRunning, seconds(20)));
  ASSERT_TRUE(
      Eventually([&] { return instances_->Find(id)->check == CheckState::kPassed; }, seconds(100)))
      << instances_->ConsoleOutput(id).value();
  std::printf("[ boot ] checks passed after %lld ms\n",
              static_cast<long long>(
                  std::chrono::duration_cast<milliseconds>(clock_.MonotonicNow() - begun).count()));
  EXPECT_TRUE(
      Eventually([&] { return instances_->ConsoleOutput(id)->find("login:") != std::string::npos; },
                 seconds(30)));

  // A snapshot of the running guest: paused, copied, resumed.
  const Snapshot live = Completed(disks_->CreateSnapshot(volume, "live", {})->id);
  EXPECT_EQ(live.state, SnapshotState::kCompleted) << live.message;

  Reopen();
  EXPECT_EQ(instances_->Find(id)->state, InstanceState::kRunning);
  EXPECT_FALSE(disks_->FlipByte(volume, 0)) << "the running guest's volume is taken";

  const auto stopping = clock_.MonotonicNow();
  ASSERT_TRUE(instances_->StopInstance(id, false));
  ASSERT_TRUE(Reaches(id, InstanceState::kStopped, seconds(40)));
  std::printf(
      "[ stop ] stopped after %lld ms\n",
      static_cast<long long>(
          std::chrono::duration_cast<milliseconds>(clock_.MonotonicNow() - stopping).count()));
  ASSERT_TRUE(instances_->TerminateInstance(id));
  ASSERT_TRUE(Reaches(id, InstanceState::kTerminated, seconds(10)));
  EXPECT_FALSE(disks_->FindVolume(volume)) << "it was to go with its instance";
}

}  // namespace
}  // namespace vmferry::region::vm
