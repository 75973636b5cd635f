// SPDX-License-Identifier: Apache-2.0
#include "region/blobs/blob_store.h"

#include <gtest/gtest.h>

#include "testing/fake_random.h"
#include "testing/temp_dir.h"

namespace vmferry::region {
namespace {

class BlobStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = BlobStore::Open(folder_ / "objects", random_);
    ASSERT_TRUE(opened);
    blobs_ = std::move(opened).value();
  }
  std::string Put(std::string_view content) {
    Payload payload;
    payload.memory = std::string(content);
    payload.size_bytes = content.size();
    auto id = blobs_->Put(payload);
    EXPECT_TRUE(id) << id.error().ToString();
    return id ? *id : "";
  }
  std::string Content(std::string_view id) {
    auto file = blobs_->Read(id);
    if (!file) return "(" + file.error().reason() + ")";
    std::string content((*file)->Size().value_or(0U), '\0');
    EXPECT_TRUE((*file)->ReadAt(0, std::as_writable_bytes(std::span(content))));
    return content;
  }

  testing::TempDir folder_;
  testing::FakeRandom random_{1};
  std::unique_ptr<BlobStore> blobs_;
};

TEST_F(BlobStoreTest, KeepsAndDiscards) {
  const std::string id = Put("hello");
  EXPECT_EQ(Content(id), "hello");
  auto open = blobs_->Read(id);
  blobs_->Discard(id);
  EXPECT_EQ(Content(id), "(io.not_found)");
  EXPECT_EQ(*(*open)->Size(), 5U);  // whoever reads goes on
}

TEST_F(BlobStoreTest, MovesASpoolFile) {
  ASSERT_TRUE(sys::WriteWholeFile(folder_ / "spool", "spooled"));
  Payload payload;
  payload.spool_path = folder_ / "spool";
  payload.size_bytes = 7;
  auto id = blobs_->Put(payload);
  ASSERT_TRUE(id);
  EXPECT_EQ(Content(*id), "spooled");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "spool"));
}

TEST_F(BlobStoreTest, JoinsInOrder) {
  const std::vector<std::string> ids = {Put("ab"), Put(""), Put("cd")};
  auto joined = blobs_->Join(ids);
  ASSERT_TRUE(joined) << joined.error().ToString();
  EXPECT_EQ(Content(*joined), "abcd");
  EXPECT_EQ(Content(ids[0]), "ab");
}

TEST_F(BlobStoreTest, SweepsOrphansAndHalfWrittenFiles) {
  const std::string kept = Put("kept");
  const std::string orphan = Put("orphan");
  ASSERT_TRUE(sys::WriteWholeFile(folder_ / "objects" / "0" / "00ff.new", "half"));
  EXPECT_EQ(blobs_->Sweep({kept}), 2U);
  EXPECT_EQ(Content(kept), "kept");
  EXPECT_EQ(Content(orphan), "(io.not_found)");
}

}  // namespace
}  // namespace vmferry::region
