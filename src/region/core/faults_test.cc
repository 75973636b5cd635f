// SPDX-License-Identifier: Apache-2.0
#include "region/core/faults.h"

#include <gtest/gtest.h>

#include "region/core/database.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

class FaultsTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    faults_.reset();
    database_.reset();
    auto database = Database::Open(folder_.path() / "region.db");
    ASSERT_TRUE(database) << database.error().ToString();
    database_ = std::move(*database);
    auto faults = FaultRules::Open(*database_);
    ASSERT_TRUE(faults) << faults.error().ToString();
    faults_ = std::move(*faults);
  }
  std::string Pattern(std::size_t count) {
    std::string hits;
    for (std::size_t i = 0; i < count; ++i) hits += faults_->Take("PutObject") ? 'x' : '.';
    return hits;
  }

  testing::TempDir folder_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<FaultRules> faults_;
};

TEST_F(FaultsTest, SkipsThenHitsThenEnds) {
  ASSERT_TRUE(faults_->Add({.operation = "PutObject", .skip = 2, .remaining = 3}));
  EXPECT_EQ(Pattern(4), "..xx");
  Open();  // counted down durably
  EXPECT_EQ(Pattern(3), "x..");
  EXPECT_TRUE(faults_->List()->empty());
}

TEST_F(FaultsTest, RateAndSeedDecideWhichAreHit) {
  ASSERT_TRUE(faults_->Add({.operation = "*", .remaining = -1, .rate_ppm = 250'000, .seed = 7}));
  const std::string first = Pattern(400);
  const auto hits = std::count(first.begin(), first.end(), 'x');
  EXPECT_GT(hits, 60);
  EXPECT_LT(hits, 140);
  Open();  // the same seed from the start
  EXPECT_EQ(Pattern(400), first);
  ASSERT_TRUE(faults_->Clear(0));
  ASSERT_TRUE(faults_->Add({.operation = "*", .remaining = -1, .rate_ppm = 250'000, .seed = 8}));
  EXPECT_NE(Pattern(400), first);
}

TEST_F(FaultsTest, RateCountsDownToo) {
  ASSERT_TRUE(
      faults_->Add({.operation = "PutObject", .remaining = 5, .rate_ppm = 500'000, .seed = 1}));
  const std::string pattern = Pattern(200);
  EXPECT_EQ(std::count(pattern.begin(), pattern.end(), 'x'), 5);
}

TEST_F(FaultsTest, StagesAreHitByNameOnly) {
  ASSERT_TRUE(faults_->Add({.operation = "*", .kind = FaultKind::kFail, .remaining = -1}));
  EXPECT_FALSE(faults_->Take("snapshot.timeout"));
  ASSERT_TRUE(faults_->Add({.operation = "snapshot.timeout", .kind = FaultKind::kFail}));
  EXPECT_TRUE(faults_->Take("snapshot.timeout"));
  EXPECT_FALSE(faults_->Take("snapshot.timeout"));
}

TEST_F(FaultsTest, SpeaksTheWordsOfTheService) {
  const auto code = [](FaultKind kind, std::string_view service) {
    return WordsOf({.kind = kind}, service).code;
  };
  EXPECT_EQ(code(FaultKind::kThrottle, "s3"), "SlowDown");
  EXPECT_EQ(code(FaultKind::kThrottle, "ec2"), "RequestLimitExceeded");
  EXPECT_EQ(code(FaultKind::kThrottle, "ebs"), "RequestThrottledException");
  EXPECT_EQ(code(FaultKind::kThrottle, "iam"), "Throttling");
  EXPECT_EQ(code(FaultKind::kExpiredToken, "s3"), "ExpiredToken");
  EXPECT_EQ(WordsOf({.kind = FaultKind::kServerError}, "ebs").status, 500);
  const FaultWords own = WordsOf({.status = 418, .code = "Teapot", .message = "short"}, "s3");
  EXPECT_EQ(own.status, 418);
  EXPECT_EQ(own.code, "Teapot");
}

TEST_F(FaultsTest, RefusesWhatCannotBe) {
  EXPECT_EQ(faults_->Add({.operation = ""}).error().reason(), "region.bad_fault");
  EXPECT_EQ(faults_->Add({.operation = "*", .rate_ppm = 0}).error().reason(), "region.bad_fault");
  EXPECT_EQ(faults_->Add({.operation = "*", .rate_ppm = 1'000'001}).error().reason(),
            "region.bad_fault");
}

}  // namespace
}  // namespace vmferry::region
