// SPDX-License-Identifier: Apache-2.0
//
// What every Store must do. One suite, run on each implementation.

#include <gtest/gtest.h>

#include <functional>

#include "base/byte_reader.h"
#include "store/sqlite_store.h"
#include "testing/temp_dir.h"

namespace vmferry::store {
namespace {

using OpenStore = std::function<Result<std::unique_ptr<Store>>(const std::filesystem::path&)>;

struct Implementation {
  const char* name;
  OpenStore open;
};

class StoreContract : public ::testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = GetParam().open(dir_ / "journal.db");
    ASSERT_TRUE(store) << store.error().ToString();
    store_ = *std::move(store);
  }
  void Create(const std::string& id, int created_s = 1) {
    const WallTime time{std::chrono::seconds(created_s)};
    ASSERT_TRUE(store_->CreateMigration({id, "running", time, time, "{}", ""}));
  }

  testing::TempDir dir_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreContract, KeepsMigrationsInTheOrderOfTheirCreation) {
  Create("mig-b", 2);
  Create("mig-a", 1);
  Reopen();
  const auto rows = store_->Migrations();
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 2U);
  EXPECT_EQ((*rows)[0].id, "mig-a");
  EXPECT_EQ((*rows)[1].created, WallTime(std::chrono::seconds(2)));
}

TEST_P(StoreContract, RefusesASecondMigrationOfTheSameId) {
  Create("mig-a");
  const auto again = store_->CreateMigration({"mig-a", "done", {}, {}, "x", ""});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason(), "store.exists");
  EXPECT_EQ(store_->Migration("mig-a")->state, "running");
}

TEST_P(StoreContract, NamesAMigrationItDoesNotKnow) {
  EXPECT_EQ(store_->Migration("mig-x").error().reason(), "store.no_such_migration");
  EXPECT_EQ(store_->SetState("mig-x", "done", "", {}).error().reason(), "store.no_such_migration");
}

TEST_P(StoreContract, ChangesStateWithErrorAndTime) {
  Create("mig-a");
  ASSERT_TRUE(
      store_->SetState("mig-a", "failed", "{\"reason\":\"x\"}", WallTime(std::chrono::seconds(9))));
  Reopen();
  const auto row = store_->Migration("mig-a");
  EXPECT_EQ(row->state, "failed");
  EXPECT_EQ(row->error, "{\"reason\":\"x\"}");
  EXPECT_EQ(row->updated, WallTime(std::chrono::seconds(9)));
}

TEST_P(StoreContract, ReplacesFactsAndKeepsMigrationsApart) {
  Create("mig-a");
  Create("mig-b");
  ASSERT_TRUE(store_->PutFacts("mig-a", {{"one", "1"}, {"two", ""}}));
  ASSERT_TRUE(store_->PutFacts("mig-a", {{"one", "11"}}));
  Reopen();
  const auto facts = store_->Facts("mig-a");
  EXPECT_EQ(*facts, (std::map<std::string, std::string>{{"one", "11"}, {"two", ""}}));
  EXPECT_TRUE(store_->Facts("mig-b")->empty());
}

TEST_P(StoreContract, KeepsStepsInTheOrderOfTheirFirstStart) {
  Create("mig-a");
  const WallTime time{std::chrono::microseconds(1'500'000)};
  ASSERT_TRUE(store_->PutStep("mig-a", {"transfer", "running", time, std::nullopt, ""}));
  ASSERT_TRUE(store_->PutStep("mig-a", {"import", "running", time, std::nullopt, ""}));
  ASSERT_TRUE(store_->PutStep("mig-a", {"transfer", "done", time, time, "ten parts"}));
  Reopen();
  const auto steps = store_->Steps("mig-a");
  ASSERT_EQ(steps->size(), 2U);
  EXPECT_EQ((*steps)[0].step, "transfer");
  EXPECT_EQ((*steps)[0].status, "done");
  EXPECT_EQ((*steps)[0].ended, time);
  EXPECT_EQ((*steps)[1].ended, std::nullopt);
}

TEST_P(StoreContract, APieceConfirmedAgainHasTheNewRecord) {
  Create("mig-a");
  const PieceRow first[] = {{2, 20, 10, 0xffffffff, "\"b\"", {}}, {1, 10, 10, 7, "\"a\"", {}}};
  const PieceRow again[] = {{1, 10, 10, 8, "\"z\"", {}}};
  ASSERT_TRUE(store_->ConfirmPieces("mig-a", 0, first));
  ASSERT_TRUE(store_->ConfirmPieces("mig-a", 0, again));
  Reopen();
  const auto pieces = store_->Pieces("mig-a", 0);
  ASSERT_EQ(pieces->size(), 2U);
  EXPECT_EQ((*pieces)[0].number, 1U);
  EXPECT_EQ((*pieces)[0].crc32c, 8U);
  EXPECT_EQ((*pieces)[0].etag, "\"z\"");
  EXPECT_EQ((*pieces)[1].crc32c, 0xffffffffU);
  EXPECT_TRUE(store_->Pieces("mig-a", 1)->empty());
}

TEST_P(StoreContract, KeepsCursorsByPieceAndForgetsThemFromANumberOn) {
  Create("mig-a");
  const auto cursor = [](std::uint64_t number, std::uint64_t guest, std::string_view state) {
    const auto bytes = AsBytes(state);
    return CursorRow{.number = number,
                     .guest_offset_bytes = guest,
                     .output_offset_bytes = guest / 2,
                     .crc32c = 0xfffffff0U + static_cast<std::uint32_t>(number),
                     .state = {bytes.begin(), bytes.end()}};
  };
  for (const std::uint64_t number : {2U, 0U, 1U}) {
    ASSERT_TRUE(store_->PutCursor("mig-a", 0, cursor(number, 100 * number, "old")));
  }
  ASSERT_TRUE(store_->PutCursor("mig-a", 0, cursor(1, 150, "")));
  const PieceRow pieces[] = {{.number = 0, .etag = ""}, {.number = 2, .etag = ""}};
  ASSERT_TRUE(store_->ConfirmPieces("mig-a", 0, pieces));
  Reopen();
  auto cursors = store_->Cursors("mig-a", 0);
  ASSERT_TRUE(cursors);
  ASSERT_EQ(cursors->size(), 3U);
  EXPECT_EQ((*cursors)[1].guest_offset_bytes, 150U);
  EXPECT_EQ((*cursors)[1].output_offset_bytes, 75U);
  EXPECT_TRUE((*cursors)[1].state.empty());
  EXPECT_EQ((*cursors)[2].crc32c, 0xfffffff2U);
  EXPECT_EQ(AsText((*cursors)[2].state), "old");
  ASSERT_TRUE(store_->DropPieces("mig-a", 0, 1));
  EXPECT_EQ(store_->Cursors("mig-a", 0)->size(), 1U);
  EXPECT_EQ(store_->Pieces("mig-a", 0)->size(), 1U);
}

TEST_P(StoreContract, ACursorOfOtherBytesUnconfirmsItsPiece) {
  Create("mig-a");
  const PieceRow pieces[] = {{.number = 0, .crc32c = 7, .etag = ""},
                             {.number = 1, .crc32c = 7, .etag = ""},
                             {.number = 2, .crc32c = 7, .etag = ""}};
  ASSERT_TRUE(store_->ConfirmPieces("mig-a", 0, pieces));
  ASSERT_TRUE(store_->PutCursor("mig-a", 0, {.number = 0, .crc32c = 7, .state = {}}));
  ASSERT_TRUE(store_->PutCursor("mig-a", 0, {.number = 1, .crc32c = 8, .state = {}}));
  Reopen();
  const auto left = store_->Pieces("mig-a", 0);
  ASSERT_TRUE(left);
  ASSERT_EQ(left->size(), 2U);
  EXPECT_EQ((*left)[0].number, 0U);
  EXPECT_EQ((*left)[1].number, 2U);
  ASSERT_TRUE(store_->DropCursors("mig-a", 0, 1));
  EXPECT_EQ(store_->Cursors("mig-a", 0)->size(), 1U);
  EXPECT_EQ(store_->Pieces("mig-a", 0)->size(), 2U);
}

TEST_P(StoreContract, KeepsLeavesApartFromTheirCounts) {
  Create("mig-a");
  ASSERT_TRUE(store_->PutLeafBlob("mig-a", 0, {3, 1, 2, 4093}, AsBytes("leaves")));
  ASSERT_TRUE(store_->PutLeafBlob("mig-a", 0, {4, 0, 0, 4096}, {}));
  Reopen();
  const auto blobs = store_->LeafBlobs("mig-a", 0);
  ASSERT_EQ(blobs->size(), 2U);
  EXPECT_EQ((*blobs)[0].zero_blocks, 2U);
  EXPECT_EQ((*blobs)[1].hole_blocks, 4096U);
  EXPECT_EQ(AsText(*store_->Leaves("mig-a", 0, 3)), "leaves");
  EXPECT_TRUE(store_->Leaves("mig-a", 0, 4)->empty());
  EXPECT_TRUE(store_->Leaves("mig-a", 0, 99)->empty());
}

TEST_P(StoreContract, LedgerKeepsOrderAndIsFoundByResource) {
  Create("mig-a");
  Create("mig-b");
  ASSERT_TRUE(store_->PutLedger({"mig-a", "bucket", "b", "intended", {}}));
  ASSERT_TRUE(store_->PutLedger({"mig-a", "prefix", "b/p/", "intended", {}}));
  ASSERT_TRUE(store_->PutLedger({"mig-b", "bucket", "b", "created", {}}));
  ASSERT_TRUE(store_->PutLedger({"mig-a", "bucket", "b", "removed", {}}));
  Reopen();
  const auto own = store_->Ledger("mig-a");
  ASSERT_EQ(own->size(), 2U);
  EXPECT_EQ((*own)[0].kind, "bucket");
  EXPECT_EQ((*own)[0].state, "removed");
  const auto both = store_->LedgerOf("bucket", "b");
  ASSERT_EQ(both->size(), 2U);
  EXPECT_EQ((*both)[1].migration_id, "mig-b");
}

TEST_P(StoreContract, ControlIsLeftReadAndCleared) {
  Create("mig-a");
  EXPECT_EQ(*store_->Control("mig-a"), std::nullopt);
  ASSERT_TRUE(store_->PutControl("mig-a", "cancel"));
  Reopen();
  EXPECT_EQ(*store_->Control("mig-a"), "cancel");
  ASSERT_TRUE(store_->ClearControl("mig-a"));
  EXPECT_EQ(*store_->Control("mig-a"), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    All, StoreContract,
    ::testing::Values(Implementation{
        "Sqlite",
        [](const std::filesystem::path& path) -> Result<std::unique_ptr<Store>> {
          VMFERRY_ASSIGN_OR_RETURN(std::unique_ptr<SqliteStore> store, SqliteStore::Open(path));
          return std::unique_ptr<Store>(std::move(store));
        }}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace vmferry::store
