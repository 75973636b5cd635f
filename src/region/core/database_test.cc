// SPDX-License-Identifier: Apache-2.0
#include "region/core/database.h"

#include <gtest/gtest.h>

#include "region/core/faults.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

constexpr const char* kTables[] = {"CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, rest TEXT)"};

class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    database_.reset();
    auto opened = Database::Open(folder_ / "region.db");
    ASSERT_TRUE(opened) << opened.error().ToString();
    database_ = std::move(opened).value();
    ASSERT_TRUE(database_->Migrate("test", kTables));
  }
  Result<std::int64_t> Insert(std::string_view key, std::int64_t number) {
    return database_->WithTransaction([&](Transaction& transaction) {
      return transaction.Execute("INSERT INTO t (k, n) VALUES (?, ?)", {key, number});
    });
  }
  std::size_t Count() {
    auto rows = database_->WithTransaction(
        [](Transaction& transaction) { return transaction.Query("SELECT k FROM t"); });
    return rows ? rows->size() : 999;
  }

  testing::TempDir folder_;
  std::unique_ptr<Database> database_;
};

TEST_F(DatabaseTest, KeepsWhatWasCommittedAndNullsAreNull) {
  ASSERT_TRUE(Insert("a", -7));
  Open();
  auto rows = database_->WithTransaction(
      [](Transaction& transaction) { return transaction.Query("SELECT k, rest, n, rest FROM t"); });
  ASSERT_TRUE(rows);
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ(rows->at(0).Text(0), "a");
  EXPECT_TRUE(rows->at(0).IsNull(1));
  EXPECT_EQ(rows->at(0).Int(2), -7);
  EXPECT_TRUE(rows->at(0).IsNull(3));
}

TEST_F(DatabaseTest, RollsBackWhenTheBodyFails) {
  auto outcome = database_->WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(transaction.Execute("INSERT INTO t (k) VALUES ('x')"));
    return Error(ErrorCode::kAborted, "test.abort", "no");
  });
  EXPECT_FALSE(outcome);
  EXPECT_EQ(Count(), 0U);
}

TEST_F(DatabaseTest, NamesConflicts) {
  ASSERT_TRUE(Insert("a", 1));
  auto again = Insert("a", 2);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason(), "region.database_conflict");
  EXPECT_EQ(Count(), 1U);
}

TEST_F(DatabaseTest, FaultRulesSkipThenHitThenEnd) {
  auto faults = FaultRules::Open(*database_);
  ASSERT_TRUE(faults);
  EXPECT_FALSE((*faults)->Take("PutObject"));
  FaultRule rule;
  rule.operation = "PutObject";
  rule.skip = 1;
  rule.remaining = 2;
  ASSERT_TRUE((*faults)->Add(rule));
  EXPECT_FALSE((*faults)->Take("GetObject"));
  EXPECT_FALSE((*faults)->Take("PutObject"));
  EXPECT_TRUE((*faults)->Take("PutObject"));
  faults = FaultRules::Open(*database_);  // as after a restart
  auto hit = (*faults)->Take("PutObject");
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->code, "SlowDown");
  EXPECT_FALSE((*faults)->Take("PutObject"));
  EXPECT_TRUE((*faults)->List()->empty());
}

TEST_F(DatabaseTest, ForeignBucketsAreNamed) {
  auto faults = FaultRules::Open(*database_);
  FaultRule rule;
  rule.operation = "their-bucket";
  rule.kind = FaultKind::kForeignBucket;
  rule.remaining = -1;
  auto id = (*faults)->Add(rule);
  ASSERT_TRUE(id);
  EXPECT_TRUE((*faults)->IsForeignBucket("their-bucket"));
  EXPECT_FALSE((*faults)->IsForeignBucket("my-bucket"));
  EXPECT_EQ(*(*faults)->Clear(*id), 1);
  EXPECT_FALSE((*faults)->IsForeignBucket("their-bucket"));
}

}  // namespace
}  // namespace vmferry::region
