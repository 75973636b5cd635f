// SPDX-License-Identifier: Apache-2.0
#include "region/vm/images.h"

#include <gtest/gtest.h>

#include "region/vm/disk_rows.h"
#include "region/vm/ids.h"
#include "testing/temp_dir.h"

namespace vmferry::region::vm {
namespace {

class ImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.folder = dir_.path();
    Open();
  }
  void TearDown() override { disks_->Stop({}); }
  void Open() {
    images_.reset();
    disks_.reset();
    context_.reset();
    faults_.reset();
    database_.reset();
    database_ = Database::Open(dir_ / "region.db").value();
    faults_ = FaultRules::Open(*database_).value();
    context_.emplace(Context{clock_, random_, log_, *database_, settings_, *faults_});
    disks_ = Disks::Open(*context_, sandbox_).value();
    images_ = Images::Open(*context_).value();
  }
  // A record alone: images look at records, never at bytes.
  std::string SnapshotRecord(SnapshotState state, std::uint64_t gib) {
    const std::string id = NewResourceId(random_, "snap-");
    EXPECT_TRUE(database_->WithTransaction([&](Transaction& transaction) {
      return transaction.Execute(
          "INSERT INTO vm_snapshots (id, state, volume_id, parent_id, size_gib, written_blocks,"
          " description, start_time, completion_time, message) VALUES (?,?,'','',?,0,'',0,0,'')",
          {id, static_cast<int>(state), gib});
    }));
    return id;
  }
  MachineImage TwoDisks(const std::string& name, const std::string& snapshot) {
    return {.name = name,
            .description = "two disks",
            .boot_mode = BootMode::kUefiPreferred,
            .disks = {{.device = "/dev/sda1", .snapshot_id = snapshot},
                      {.device = "/dev/sdb",
                       .size_gib = 7,
                       .delete_on_termination = false,
                       .volume_type = "gp3"}},
            .ena_support = true,
            .source = "import-ami-0123456789abcdef0"};
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
};

TEST_F(ImagesTest, AreThereAfterANewStart) {
  const std::string snapshot = SnapshotRecord(SnapshotState::kCompleted, 3);
  const auto made = images_->Register(TwoDisks("one", snapshot), {{"Name", "x"}});
  ASSERT_TRUE(made) << made.error().ToString();
  ASSERT_TRUE(images_->Register({.name = "two"}, {}));
  Open();
  const auto found = images_->Find(made->id);
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_TRUE(IsResourceId(found->id, "ami-"));
  EXPECT_EQ(found->name, "one");
  EXPECT_EQ(found->description, "two disks");
  EXPECT_EQ(found->state, ImageState::kAvailable);
  EXPECT_EQ(found->boot_mode, BootMode::kUefiPreferred);
  EXPECT_TRUE(found->ena_support);
  EXPECT_EQ(found->source, "import-ami-0123456789abcdef0");
  EXPECT_GT(found->creation_time, 0);
  ASSERT_EQ(found->disks.size(), 2U);
  EXPECT_EQ(found->disks[0].snapshot_id, snapshot);
  EXPECT_EQ(found->disks[0].size_gib, 3U) << "the snapshot's";
  EXPECT_TRUE(found->disks[0].delete_on_termination);
  EXPECT_EQ(found->disks[1].device, "/dev/sdb");
  EXPECT_EQ(found->disks[1].size_gib, 7U);
  EXPECT_FALSE(found->disks[1].delete_on_termination);
  EXPECT_EQ(found->disks[1].volume_type, "gp3");
  const auto all = images_->List().value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_LT(all[0].id, all[1].id);
  EXPECT_EQ(all[0].disks.size() + all[1].disks.size(), 2U);
  EXPECT_EQ(disks_->tags().Of(made->id).at("Name"), "x");
}

TEST_F(ImagesTest, NamesAreUniqueUntilDeregistered) {
  const auto first = images_->Register({.name = "name"}, {});
  ASSERT_TRUE(first);
  const auto second = images_->Register({.name = "name"}, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason(), "region.image_name_taken");
  ASSERT_TRUE(images_->Deregister(first->id));
  EXPECT_EQ(images_->Find(first->id).error().reason(), "region.no_such_image");
  EXPECT_EQ(images_->Deregister(first->id).error().reason(), "region.no_such_image");
  EXPECT_TRUE(images_->Register({.name = "name"}, {}));
}

TEST_F(ImagesTest, NeedCompletedSnapshots) {
  const auto absent = images_->Register(TwoDisks("a", "snap-0123456789abcdef0"), {{"k", "v"}});
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().reason(), "region.no_such_snapshot");
  const std::string pending = SnapshotRecord(SnapshotState::kPending, 1);
  EXPECT_EQ(images_->Register(TwoDisks("a", pending), {}).error().reason(), "region.wrong_state");
  EXPECT_TRUE(images_->List().value().empty()) << "nothing is left of what was refused";
  EXPECT_TRUE(disks_->tags().OfAll("ami-").empty());
}

TEST_F(ImagesTest, HoldTheirSnapshots) {
  const std::string snapshot = SnapshotRecord(SnapshotState::kCompleted, 1);
  const auto image = images_->Register(TwoDisks("holder", snapshot), {});
  ASSERT_TRUE(image);
  const auto deleted = disks_->DeleteSnapshot(snapshot);
  ASSERT_FALSE(deleted);
  EXPECT_EQ(deleted.error().reason(), "region.snapshot_in_use");
  EXPECT_NE(deleted.error().message().find(image->id), std::string::npos);
  EXPECT_TRUE(disks_->FindSnapshot(snapshot));
  ASSERT_TRUE(images_->Deregister(image->id));
  EXPECT_TRUE(disks_->DeleteSnapshot(snapshot));
}

TEST(BootModes, HaveNamesAndFirmware) {
  for (const BootMode mode : {BootMode::kLegacyBios, BootMode::kUefi, BootMode::kUefiPreferred}) {
    EXPECT_EQ(ParseBootMode(BootModeName(mode)), mode);
  }
  EXPECT_FALSE(ParseBootMode("bios"));
  EXPECT_FALSE(ParseBootMode(""));
  EXPECT_EQ(FirmwareOf(BootMode::kUnset), BootMode::kLegacyBios);
  EXPECT_EQ(FirmwareOf(BootMode::kLegacyBios), BootMode::kLegacyBios);
  EXPECT_EQ(FirmwareOf(BootMode::kUefi), BootMode::kUefi);
  EXPECT_EQ(FirmwareOf(BootMode::kUefiPreferred), BootMode::kUefi);
}

}  // namespace
}  // namespace vmferry::region::vm
