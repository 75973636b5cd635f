// SPDX-License-Identifier: Apache-2.0
#include "transfer/send_encoded.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <stop_token>
#include <vector>

#include "base/mutex.h"
#include "base/units.h"
#include "image/open.h"
#include "image/vmdk/stream_encoder.h"
#include "store/sqlite_store.h"
#include "sys/file.h"
#include "testing/fake_clock.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"

namespace vmferry::transfer {
namespace {

/// Keeps pieces in memory and counts how many it was given.
class MemoryTarget final : public Target {
 public:
  Result<std::string> Put(const Piece& piece, std::span<const std::byte> data, std::uint32_t crc32c,
                          const OpContext&) override {
    MutexLock lock(mutex_);
    ++puts;
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
    MutexLock lock(mutex_);
    return held.contains(piece.number) && crcs[piece.number] == crc32c;
  }

  std::map<std::uint64_t, std::vector<std::byte>> held;
  std::map<std::uint64_t, std::uint32_t> crcs;
  int puts = 0;

 private:
  Mutex mutex_;
};

class SendEncodedTest : public ::testing::Test {
 protected:
  /// The last grain is one sector: the disk does not end where a grain does.
  static constexpr std::uint64_t kSize = 10 * 64 * kKiB + kSectorBytes;
  static constexpr std::string_view kId = "mig-a";

  void SetUp() override {
    std::vector<std::byte> content(kSize);
    testing::FakeRandom random(5);
    random.Fill(content);  // does not compress: each grain fills a piece
    const auto path = dir_ / "disk.raw";
    auto file = sys::File::Open(path, sys::File::Mode::kCreate);
    ASSERT_TRUE(file && file->WriteAt(0, content));
    auto disk = image::OpenDisk(path.string());
    ASSERT_TRUE(disk) << disk.error().ToString();
    disk_ = *std::move(disk);
    auto store = store::SqliteStore::Open(dir_ / "journal.db");
    ASSERT_TRUE(store) << store.error().ToString();
    store_ = *std::move(store);
    const WallTime time{std::chrono::seconds(1)};
    ASSERT_TRUE(store_->CreateMigration({std::string(kId), "running", time, time, "{}", ""}));
  }

  SendOutcome Send(bool resuming) {
    auto encoder = image::vmdk::MakeStreamEncoder(kSize);
    EXPECT_TRUE(encoder);
    const PieceJournal journal = {.store = *store_, .migration_id = kId, .disk = 0};
    const auto outcome =
        SendEncoded(*disk_.image, **encoder, journal, resuming, target_, [](const SendProgress&) {},
                    clock_, {.parallel = 3, .piece_bytes = 512}, {});
    EXPECT_TRUE(outcome) << outcome.error().ToString();
    return outcome ? *outcome : SendOutcome{};
  }

  /// The journal's pieces are what the target holds, without a gap.
  void ExpectWhole() {
    const auto pieces = store_->Pieces(kId, 0);
    ASSERT_TRUE(pieces);
    std::uint64_t offset_bytes = 0;
    for (std::size_t i = 0; i < pieces->size(); ++i) {
      EXPECT_EQ((*pieces)[i].number, i);
      EXPECT_EQ((*pieces)[i].offset_bytes, offset_bytes);
      EXPECT_EQ((*pieces)[i].length_bytes, target_.held[i].size());
      EXPECT_EQ((*pieces)[i].crc32c, target_.crcs[i]);
      offset_bytes += (*pieces)[i].length_bytes;
    }
  }

  testing::TempDir dir_;
  testing::FakeClock clock_;
  image::OpenedDisk disk_;
  std::unique_ptr<store::SqliteStore> store_;
  MemoryTarget target_;
};

TEST_F(SendEncodedTest, GoesOnBehindAnyPiece) {
  Send(false);
  ExpectWhole();
  const auto whole = target_.held;
  const int puts = target_.puts;
  ASSERT_GT(whole.size(), 10U);
  // The last of these leaves a cursor at the end of the disk, in the middle of a grain.
  for (std::uint64_t left = 0; left < whole.size(); ++left) {
    ASSERT_TRUE(store_->DropPieces(kId, 0, left));
    const SendOutcome outcome = Send(true);
    EXPECT_EQ(outcome.skipped_pieces, left);
    EXPECT_EQ(outcome.sent_pieces, 0U);  // it is there, only not recorded
    ExpectWhole();
  }
  EXPECT_EQ(target_.held, whole);
  EXPECT_EQ(target_.puts, puts);
}

TEST_F(SendEncodedTest, DoesNotTrustACursorOfOtherBytesThanWereConfirmed) {
  Send(false);
  const auto whole = target_.held;
  // A run that compressed otherwise, cut off between cursor and piece.
  const auto cursors = store_->Cursors(kId, 0);
  ASSERT_TRUE(cursors);
  store::CursorRow other = (*cursors)[3];
  other.crc32c ^= 1;
  other.output_offset_bytes += kSectorBytes;
  ASSERT_TRUE(store_->PutCursor(kId, 0, other));
  const SendOutcome outcome = Send(true);
  EXPECT_EQ(outcome.skipped_pieces, 3U);
  ExpectWhole();
  EXPECT_EQ(target_.held, whole);
}

TEST_F(SendEncodedTest, SendsAgainWhatWasReplacedButNotConfirmed) {
  Send(false);
  const auto whole = target_.held;
  // Cut off between the piece and its confirmation; of the same length, by chance.
  const auto cursors = store_->Cursors(kId, 0);
  ASSERT_TRUE(cursors);
  store::CursorRow other = (*cursors)[3];
  other.crc32c ^= 1;
  ASSERT_TRUE(store_->PutCursor(kId, 0, other));
  target_.held[3][100] ^= std::byte{1};
  target_.crcs[3] = other.crc32c;
  const SendOutcome outcome = Send(true);
  EXPECT_EQ(outcome.skipped_pieces, 3U);
  EXPECT_EQ(outcome.sent_pieces, 1U);
  ExpectWhole();
  EXPECT_EQ(target_.held, whole);
}

TEST_F(SendEncodedTest, TrustsNoCursorsFromBehindAGap) {
  Send(false);
  const auto cursors = store_->Cursors(kId, 0);
  ASSERT_TRUE(cursors);
  ASSERT_TRUE(store_->DropCursors(kId, 0, 3));
  ASSERT_TRUE(store_->PutCursor(kId, 0, (*cursors)[5]));
  // It stops before it has made any of the pieces behind the gap.
  auto encoder = image::vmdk::MakeStreamEncoder(kSize);
  ASSERT_TRUE(encoder);
  std::stop_source stop;
  stop.request_stop();
  const PieceJournal journal = {.store = *store_, .migration_id = kId, .disk = 0};
  EXPECT_FALSE(SendEncoded(*disk_.image, **encoder, journal, true, target_,
                           [](const SendProgress&) {}, clock_, {.parallel = 1, .piece_bytes = 512},
                           {.stop = stop.get_token()}));
  EXPECT_EQ(store_->Cursors(kId, 0)->size(), 3U);
}

}  // namespace
}  // namespace vmferry::transfer
