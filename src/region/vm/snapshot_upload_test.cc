// SPDX-License-Identifier: Apache-2.0
#include "region/vm/snapshot_upload.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "codec/text_codec.h"
#include "sys/file.h"
#include "testing/temp_dir.h"

namespace vmferry::region::vm {
namespace {

constexpr std::uint64_t kVolumeBytes = 8 * kMiB;  // 16 blocks
const std::string kId = "snap-0123456789abcdef0";

std::vector<std::byte> Block(unsigned char content) {
  return std::vector<std::byte>(kEbsBlockBytes, std::byte{content});
}

std::vector<std::byte> ContentOf(const std::filesystem::path& folder, const std::string& id,
                                 std::uint64_t index) {
  std::vector<std::byte> block(kEbsBlockBytes);
  const auto file = sys::File::Open(folder / (id + ".raw"), sys::File::Mode::kRead);
  EXPECT_TRUE(file && file->ReadAt(index * kEbsBlockBytes, block));
  return block;
}

class UploadTest : public ::testing::Test {
 protected:
  void Begin() {
    auto made = SnapshotUpload::Create(folder_.path(), kId, kVolumeBytes);
    ASSERT_TRUE(made) << made.error().ToString();
    upload_ = std::move(*made);
  }
  // As after a kill: the object goes without having been told.
  void Again() {
    upload_.reset();
    auto opened = SnapshotUpload::Open(folder_.path(), kId);
    ASSERT_TRUE(opened) << opened.error().ToString();
    upload_ = std::move(*opened);
  }
  Result<void> Put(std::uint64_t index, unsigned char content) {
    const auto block = Block(content);
    return upload_->Put(index, block, codec::Sha256(block));
  }
  BlockMap Finish(const SnapshotFile* parent = nullptr,
                  std::optional<std::uint64_t> garbage = std::nullopt) {
    upload_->Close();
    auto map = upload_->Assemble(parent, garbage, {}, nullptr);
    EXPECT_TRUE(map) << map.error().ToString();
    return map ? *map : BlockMap(kVolumeBytes);
  }

  testing::TempDir folder_;
  std::unique_ptr<SnapshotUpload> upload_;
};

TEST_F(UploadTest, FinishedSnapshotHasWhatWasPut) {
  Begin();
  ASSERT_TRUE(Put(3, 1));
  ASSERT_TRUE(Put(0, 0));  // a written zero is not a hole
  ASSERT_TRUE(Put(15, 2));
  EXPECT_EQ(upload_->written_count(), 3U);
  Finish();
  const auto file = SnapshotFile::Open(folder_.path(), kId);
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(file->written_count(), 3U);
  EXPECT_TRUE(file->map().Written(0));
  EXPECT_FALSE(file->map().Written(1));
  EXPECT_EQ(ContentOf(folder_.path(), kId, 3), Block(1));
  EXPECT_EQ(ContentOf(folder_.path(), kId, 1), Block(0));
  EXPECT_EQ(*file->Leaf(15), codec::Sha256(Block(2)));
}

// The values are those of coldsnap's own tests (aws-reference, "Checksums").
TEST_F(UploadTest, LinearChecksumIsThatOfOthers) {
  Begin();
  ASSERT_TRUE(Put(9, 2));
  ASSERT_TRUE(Put(4, 1));
  EXPECT_EQ(codec::Base64Encode(*upload_->LinearChecksum()),
            "fccGN1xyY7l5uqsw58BLULbsU8thbz9pDvzr9oCk5yk=");
}

TEST_F(UploadTest, ReplacedBlocksSurviveInAnyOrder) {
  Begin();
  for (unsigned char content : std::vector<unsigned char>{1, 2, 3, 2, 4}) {
    ASSERT_TRUE(Put(5, content));
    ASSERT_TRUE(Put(6, static_cast<unsigned char>(content + 10)));
    Again();
  }
  EXPECT_EQ(upload_->written_count(), 2U);
  Finish();
  EXPECT_EQ(ContentOf(folder_.path(), kId, 5), Block(4));
  EXPECT_EQ(ContentOf(folder_.path(), kId, 6), Block(14));
}

// A kill in the middle of an unacknowledged Put leaves part of a block and no record.
TEST_F(UploadTest, UnacknowledgedBlocksAreHoles) {
  Begin();
  ASSERT_TRUE(Put(2, 7));
  const auto raw = sys::File::Open(folder_.path() / (kId + ".raw"), sys::File::Mode::kReadWrite);
  ASSERT_TRUE(raw &&
              raw->WriteAt(4 * kEbsBlockBytes, std::vector<std::byte>(100'000, std::byte{9})));
  const auto puts = sys::File::Open(folder_.path() / (kId + ".puts"), sys::File::Mode::kReadWrite);
  const auto size = puts->Size();
  ASSERT_TRUE(size && puts->WriteAt(*size, std::vector<std::byte>(30)));
  Again();
  EXPECT_EQ(upload_->written_count(), 1U);
  ASSERT_TRUE(Put(3, 8));
  Again();
  Finish();
  EXPECT_EQ(ContentOf(folder_.path(), kId, 4), Block(0));
  EXPECT_EQ(ContentOf(folder_.path(), kId, 3), Block(8));
  EXPECT_EQ(ContentOf(folder_.path(), kId, 2), Block(7));
}

TEST_F(UploadTest, ChildHasTheParentsBlocks) {
  Begin();
  ASSERT_TRUE(Put(0, 1));
  ASSERT_TRUE(Put(1, 2));
  Finish();
  const auto parent = SnapshotFile::Open(folder_.path(), kId);
  ASSERT_TRUE(parent);
  const std::string child = "snap-0123456789abcdef1";
  auto made = SnapshotUpload::Create(folder_.path(), child, 2 * kVolumeBytes);
  ASSERT_TRUE(made);
  const auto block = Block(3);
  ASSERT_TRUE((*made)->Put(1, block, codec::Sha256(block)));
  (*made)->Close();
  ASSERT_TRUE((*made)->Assemble(&*parent, std::nullopt, {}, nullptr));
  const auto file = SnapshotFile::Open(folder_.path(), child);
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(file->written_count(), 2U);
  EXPECT_EQ(ContentOf(folder_.path(), child, 0), Block(1));
  EXPECT_EQ(ContentOf(folder_.path(), child, 1), Block(3));
  EXPECT_EQ(*file->Leaf(0), codec::Sha256(Block(1)));
}

TEST_F(UploadTest, AssemblingTwiceIsAssemblingOnce) {
  Begin();
  ASSERT_TRUE(Put(1, 1));
  ASSERT_TRUE(Put(1, 2));
  Finish(nullptr, 77);
  const auto garbage = ContentOf(folder_.path(), kId, 0);
  EXPECT_NE(garbage, Block(0));
  Again();
  Finish(nullptr, 77);
  EXPECT_EQ(ContentOf(folder_.path(), kId, 0), garbage);
  EXPECT_EQ(ContentOf(folder_.path(), kId, 1), Block(2));
}

TEST_F(UploadTest, RefusesWhatIsNoBlockOfTheVolume) {
  Begin();
  EXPECT_EQ(Put(16, 1).error().reason(), "region.block_past_end");
  upload_->Close();
  EXPECT_EQ(Put(1, 1).error().reason(), "region.wrong_state");
  upload_->Reopen();
  EXPECT_TRUE(Put(1, 1));
}

TEST_F(UploadTest, ManyThreadsLoseNothing) {
  Begin();
  std::atomic<int> refused{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned char worker = 0; worker < 8; ++worker) {
      threads.emplace_back([&, worker] {
        for (std::uint64_t index = 0; index < 16; ++index) {
          if (index % 4 == worker % 4 && !Put(index, static_cast<unsigned char>(index + 1))) {
            ++refused;
          }
        }
      });
    }
  }
  Again();
  EXPECT_EQ(upload_->written_count(), 16U);
  EXPECT_LE(refused.load(), 16);  // the twin that came second while the first was under way
  Finish();
  for (std::uint64_t index = 0; index < 16; ++index) {
    EXPECT_EQ(ContentOf(folder_.path(), kId, index), Block(static_cast<unsigned char>(index + 1)));
  }
}

}  // namespace
}  // namespace vmferry::region::vm
