// SPDX-License-Identifier: Apache-2.0
#include "transfer/send.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/mutex.h"
#include "codec/digest.h"
#include "testing/fake_clock.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"

namespace vmferry::transfer {
namespace {

// A target in memory that counts puts and can fail at one piece.
class MemoryTarget final : public Target {
 public:
  Result<std::string> Put(const Piece& piece, std::span<const std::byte> data, std::uint32_t crc32c,
                          const OpContext&) override {
    MutexLock lock(mutex_);
    puts[piece.number] += 1;
    if (piece.number == fail_at) {
      return Error(ErrorCode::kUnavailable, "test.refused", "refused");
    }
    held[piece.number] = {data.begin(), data.end()};
    crcs[piece.number] = crc32c;
    return std::string("tag");
  }
  Result<std::vector<HeldPiece>> Held(const OpContext&) override {
    std::vector<HeldPiece> pieces;
    for (const auto& [number, data] : held) pieces.push_back({number, data.size()});
    return pieces;
  }
  Result<bool> Holds(const Piece& piece, std::uint32_t crc32c, const OpContext&) override {
    return held.contains(piece.number) && crcs[piece.number] == crc32c;
  }

  std::map<std::uint64_t, std::vector<std::byte>> held;
  std::map<std::uint64_t, std::uint32_t> crcs;
  std::map<std::uint64_t, int> puts;
  std::uint64_t fail_at = ~std::uint64_t{0};

 private:
  Mutex mutex_;
};

class SendPiecesTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPieces = 5;

  SendPiecesTest()
      : content_(kPieces * kPartBytesMin - 1000),
        file_(*sys::File::Open(dir_ / "source", sys::File::Mode::kCreate)),
        plan_(*PiecePlan::Make(content_.size())) {
    // A little chance in each piece tells them apart.
    testing::FakeRandom random(1);
    for (std::uint64_t at = 0; at < content_.size(); at += kPartBytesMin) {
      random.Fill(std::span(content_).subspan(at, 64));
    }
    EXPECT_TRUE(file_.WriteAt(0, content_));
  }

  Result<SendOutcome> Send(bool resuming) {
    return SendPieces(
        file_, plan_, recorded_, resuming, target_,
        [this](std::span<const store::PieceRow> rows) -> Result<void> {
          if (record_fails_) return Error(ErrorCode::kResourceExhausted, "test.full", "full");
          recorded_.insert(recorded_.end(), rows.begin(), rows.end());
          return {};
        },
        [this](const SendProgress& progress) { progress_ = progress; }, clock_, {.parallel = 3},
        {});
  }

  testing::TempDir dir_;
  testing::FakeClock clock_;
  std::vector<std::byte> content_;
  sys::File file_;
  PiecePlan plan_;
  MemoryTarget target_;
  std::vector<store::PieceRow> recorded_;
  SendProgress progress_;
  bool record_fails_ = false;
};

TEST_F(SendPiecesTest, SendsAndRecordsEveryPieceOnce) {
  const auto outcome = Send(false);
  ASSERT_TRUE(outcome) << outcome.error().ToString();
  EXPECT_EQ(outcome->sent_pieces, kPieces);
  EXPECT_EQ(recorded_.size(), kPieces);
  EXPECT_EQ(progress_.done_bytes, content_.size());
  std::vector<std::byte> joined;
  for (const auto& [number, data] : target_.held) {
    EXPECT_EQ(target_.puts[number], 1);
    EXPECT_EQ(target_.crcs[number], codec::Crc32c(data));
    joined.insert(joined.end(), data.begin(), data.end());
  }
  EXPECT_EQ(joined, content_);
}

TEST_F(SendPiecesTest, SendsNoRecordedPieceAgain) {
  target_.fail_at = 4;
  ASSERT_FALSE(Send(false));
  const std::size_t recorded = recorded_.size();
  target_.fail_at = ~std::uint64_t{0};
  target_.puts.clear();
  const auto outcome = Send(true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->skipped_pieces, recorded);
  EXPECT_EQ(outcome->sent_pieces, kPieces - recorded);
  EXPECT_EQ(recorded_.size(), kPieces);
  for (const auto& [number, count] : target_.puts) EXPECT_EQ(count, 1) << number;
}

TEST_F(SendPiecesTest, RecordsWithoutSendingWhatTheTargetHolds) {
  ASSERT_TRUE(Send(false));
  recorded_.erase(recorded_.begin(), recorded_.begin() + 2);
  target_.puts.clear();
  const auto outcome = Send(true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->found_pieces, 2U);
  EXPECT_TRUE(target_.puts.empty());
  EXPECT_EQ(recorded_.size(), kPieces);
}

TEST_F(SendPiecesTest, SendsAgainWhatTheTargetLostOrHoldsWrong) {
  ASSERT_TRUE(Send(false));
  const std::uint64_t lost = recorded_.front().number;
  target_.held.erase(lost);
  recorded_.pop_back();
  const std::uint64_t wrong = [&] {
    for (std::uint64_t number = 0; number < kPieces; ++number) {
      if (std::none_of(recorded_.begin(), recorded_.end(),
                       [&](const auto& row) { return row.number == number; })) {
        return number;
      }
    }
    return kPieces;
  }();
  target_.crcs[wrong] ^= 1;
  const auto outcome = Send(true);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(target_.puts[lost], 2);
  EXPECT_EQ(target_.puts[wrong], 2);
}

TEST_F(SendPiecesTest, AFailingRecordEndsTheRun) {
  record_fails_ = true;
  const auto outcome = Send(false);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "test.full");
}

TEST_F(SendPiecesTest, ShrunkenSourceIsAnErrorNotShortPieces) {
  ASSERT_TRUE(file_.Truncate(content_.size() - 1));
  const auto outcome = Send(false);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "io.short_read");
}

}  // namespace
}  // namespace vmferry::transfer
