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
#include "region/vm/images.h"
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
    images_ = Images::Open(*context_).value();
    auto instances = Instances::Open(*context_, sandbox_, *disks_,
                                     {.memory_mib_max = 256, .stop_patience = seconds(30)});
    ASSERT_TRUE(instances) << instances.error().ToString();
    instances_ = std::move(*instances);
    ASSERT_TRUE(disks_->Start());
    ASSERT_TRUE(instances_->Start());
  }
  void Reopen() {
    instances_.reset();  // the keeper ends, the processes stay: what kill -9 leaves behind
    images_.reset();
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
  std::unique_ptr<Images> images_;
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

using GuestBoots = Guests;

TEST_F(GuestBoots, TinyGuestIsAdoptedAndPowersDown) {
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

TEST_F(Guests, VolumesOfSnapshotsHaveTheirContentAndMore) {
  const std::string volume = MakeVolume(SmallDisk(dir_));
  const Snapshot first = Completed(disks_->CreateSnapshot(volume, "", {})->id);
  const auto made =
      disks_->CreateVolume({.size_gib = 3, .snapshot_id = first.id, .zone = "z"}, {{"k", "v"}});
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_FALSE(std::filesystem::exists(disks_->folder() / disks_->VolumeFile(made->id)))
      << "a record alone until somebody needs the file";
  ASSERT_TRUE(disks_->FlipByte(made->id, 2 * kGiB));
  const Snapshot second = Completed(disks_->CreateSnapshot(made->id, "", {})->id);
  ASSERT_EQ(second.state, SnapshotState::kCompleted) << second.message;
  EXPECT_EQ(second.size_gib, 3U);
  EXPECT_EQ(second.written_blocks, 2U) << "the snapshot's and the one behind its end";
  std::vector<std::byte> block(kEbsBlockBytes);
  ASSERT_TRUE(disks_->OpenSnapshot(second.id).value()->Read(2, block));
  EXPECT_EQ(block[999], std::byte{7});
  EXPECT_EQ(disks_->CreateVolume({.size_gib = 1, .snapshot_id = second.id}, {}).error().reason(),
            "region.volume_too_small");
  EXPECT_EQ(disks_->CreateVolume({.size_gib = 1, .snapshot_id = "snap-0"}, {}).error().reason(),
            "region.no_such_snapshot");
}

TEST_F(Guests, VolumesAreAttachedInOrderAndOncePerDevice) {
  const std::string id = NewResourceId(random_, "i-");
  ASSERT_TRUE(instances_->Add({.id = id, .type = "t3.micro"}, {}));
  std::vector<std::string> volumes;
  for (const char* device : {"/dev/sda1", "/dev/sdz", "/dev/sdb"}) {
    volumes.push_back(disks_->CreateVolume({.size_gib = 1}, {})->id);
    const auto attached = instances_->AttachVolume(volumes.back(), id, device);
    ASSERT_TRUE(attached) << attached.error().ToString();
  }
  const auto listed = disks_->VolumesOf(id).value();
  ASSERT_EQ(listed.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(listed[i].id, volumes[i]);
  const std::string other = disks_->CreateVolume({.size_gib = 1}, {})->id;
  EXPECT_EQ(instances_->AttachVolume(other, id, "/dev/sdb").error().reason(),
            "region.device_taken");
  EXPECT_EQ(instances_->AttachVolume(volumes[1], id, "/dev/sdc").error().reason(),
            "region.wrong_state");
  ASSERT_TRUE(instances_->DetachVolume(volumes[0]));
  EXPECT_EQ(disks_->FindVolume(volumes[0])->state, VolumeState::kAvailable);
  EXPECT_EQ(instances_->StartInstance(id).error().reason(), "region.no_root_volume");
}

TEST_F(Guests, RunIsTheSameForTheSameToken) {
  LaunchRequest request{
      .instance = {.type = "t3.micro", .reservation_id = "r-1"},
      .count_min = 2,
      .count = 2,
      .disks = {{.device = "/dev/sda1", .size_gib = 1}, {.device = "/dev/sdb", .size_gib = 2}},
      .token_parameters = "a"};
  request.instance.client_token = "token";
  const auto first = instances_->Run(request);
  ASSERT_TRUE(first) << first.error().ToString();
  ASSERT_EQ(first->size(), 2U);
  EXPECT_NE((*first)[0].private_ip, (*first)[1].private_ip);
  request.instance.reservation_id = "r-2";
  const auto again = instances_->Run(request);
  ASSERT_TRUE(again) << again.error().ToString();
  ASSERT_EQ(again->size(), 2U);
  EXPECT_EQ((*again)[0].id, (*first)[0].id);
  EXPECT_EQ(disks_->ListVolumes()->size(), 4U);
  request.token_parameters = "b";
  EXPECT_EQ(instances_->Run(request).error().reason(), "region.client_token_reused");
  request.instance.client_token.clear();
  request.private_ip = (*first)[0].private_ip;
  EXPECT_EQ(instances_->Run(request).error().reason(), "region.address_in_use");
  request.private_ip.clear();
  request.count_min = request.count = 1000;
  EXPECT_EQ(instances_->Run(request).error().reason(), "region.too_many_instances");
  for (const Instance& instance : *first) ASSERT_TRUE(instances_->TerminateInstance(instance.id));
  for (const Instance& instance : *first) {
    EXPECT_TRUE(Reaches(instance.id, InstanceState::kTerminated, seconds(60)));
  }
}

// A machine image of two snapshots, started by UEFI: both disks, in order, with their serial
// numbers; one comes and goes while the guest runs; the screen; a reboot.
TEST_F(GuestBoots, UefiGuestSeesItsDisksAndThoseThatComeAndGo) {
  const char* root = std::getenv("VMFERRY_TEST_TINY_UEFI_GUEST");
  const char* data = std::getenv("VMFERRY_TEST_TINY_DATA_DISK");
  if (root == nullptr || data == nullptr) {
    GTEST_SKIP() << "VMFERRY_TEST_TINY_UEFI_GUEST or VMFERRY_TEST_TINY_DATA_DISK is not set";
  }
  MachineImage image{.name = "uefi", .boot_mode = BootMode::kUefi};
  for (const auto& [device, disk] : {std::pair("/dev/sda1", root), std::pair("/dev/sdf", data)}) {
    const Snapshot snapshot = Completed(disks_->CreateSnapshot(MakeVolume(disk), "", {})->id);
    ASSERT_EQ(snapshot.state, SnapshotState::kCompleted) << snapshot.message;
    image.disks.push_back({.device = device, .snapshot_id = snapshot.id});
  }
  const auto registered = images_->Register(image, {});
  ASSERT_TRUE(registered) << registered.error().ToString();
  const auto run =
      instances_->Run({.instance = {.type = "t3.micro", .boot_mode = registered->boot_mode},
                       .private_ip = "172.31.3.7",
                       .disks = registered->disks});
  ASSERT_TRUE(run) << run.error().ToString();
  const std::string id = run->front().id;
  const auto says = [&](std::string_view text) {
    return instances_->ConsoleOutput(id).value_or(std::string()).find(text) != std::string::npos;
  };
  const auto shows = [&](std::string_view text, seconds patience) {
    return Eventually([&] { return says(text); }, patience)
               ? std::string()
               : instances_->ConsoleOutput(id).value_or(std::string());
  };
  const auto serial = [](const Volume& volume) { return "vol" + volume.id.substr(4); };
  EXPECT_EQ(shows("login:", seconds(300)), "");
  EXPECT_EQ(shows("VMFERRY-DATA vmferry known content of the second disk", seconds(60)), "");
  const auto volumes = disks_->VolumesOf(id).value();
  ASSERT_EQ(volumes.size(), 2U);
  const std::string both =
      "DISKS nvme0n1:2097152:" + serial(volumes[0]) + " nvme1n1:2097152:" + serial(volumes[1]);
  EXPECT_EQ(shows(both, seconds(30)), "");
  EXPECT_TRUE(
      Eventually([&] { return instances_->Find(id)->check == CheckState::kPassed; }, seconds(120)));
  const auto picture = instances_->Screenshot(id);
  ASSERT_TRUE(picture) << picture.error().ToString();
  EXPECT_EQ(picture->substr(0, 3), "\xff\xd8\xff");

  // Another disk while it runs, then away with it.
  const std::string third = disks_->CreateVolume({.size_gib = 3}, {})->id;
  const auto attached = instances_->AttachVolume(third, id, "/dev/sdg");
  ASSERT_TRUE(attached) << attached.error().ToString();
  EXPECT_EQ(shows(":6291456:" + serial(*attached), seconds(60)), "");
  EXPECT_EQ(instances_->DetachVolume(volumes[0].id).error().reason(), "region.root_volume");
  ASSERT_TRUE(instances_->DetachVolume(third));
  EXPECT_TRUE(Eventually(
      [&] { return disks_->FindVolume(third)->state == VolumeState::kAvailable; }, seconds(90)));

  ASSERT_TRUE(instances_->RebootInstance(id));
  EXPECT_TRUE(Eventually(
      [&] {
        const auto now = instances_->Find(id);
        return now->reboot == RebootStage::kNone && now->check == CheckState::kPassed;
      },
      seconds(300)));
  EXPECT_EQ(instances_->Find(id)->state, InstanceState::kRunning);
  ASSERT_TRUE(instances_->TerminateInstance(id));
  EXPECT_TRUE(Reaches(id, InstanceState::kTerminated, seconds(30)));
}

}  // namespace
}  // namespace vmferry::region::vm
