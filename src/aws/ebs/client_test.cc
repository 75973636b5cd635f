// SPDX-License-Identifier: Apache-2.0
#include "aws/ebs/client.h"

#include <gtest/gtest.h>

#include "testing/fake_aws_caller.h"

namespace vmferry::aws::ebs {
namespace {

using testing::FakeAwsCaller;

// aws-reference 3.3.
constexpr std::string_view kOnesChecksum = "M6FQvOsTwamSIx5ltPrRaBUhL8Bs20CJltMu6yzvnrs=";

class EbsClientTest : public ::testing::Test {
 protected:
  void AnswerBlock(std::string body, std::string_view checksum) {
    fake_.http.Answer(200, std::move(body),
                      {{"x-amz-Data-Length", "524288"},
                       {"x-amz-Checksum", std::string(checksum)},
                       {"x-amz-Checksum-Algorithm", "SHA256"}});
  }
  Result<void> Get() {
    return client_.GetSnapshotBlock(
        "snap-1", 7, "to/ken+=", std::span<std::byte, kBlockBytes>(block_), fake_.context);
  }
  FakeAwsCaller fake_;
  Client client_{fake_.caller};
  std::vector<std::byte> block_ = std::vector<std::byte>(kBlockBytes);
};

TEST_F(EbsClientTest, GetsABlockAndChecksIt) {
  AnswerBlock(std::string(kBlockBytes, '\1'), kOnesChecksum);
  const auto got = Get();
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(block_.front(), std::byte{1});
  EXPECT_EQ(block_.back(), std::byte{1});
  const auto sent = fake_.http.sent().at(0);
  EXPECT_EQ(sent.method, "GET");
  EXPECT_EQ(sent.url.path, "/snapshots/snap-1/blocks/7");
  EXPECT_EQ(sent.url.query, "blockToken=to%2Fken%2B%3D");
  EXPECT_NE(sent.Header("authorization").find("/us-east-1/ebs/aws4_request"), std::string::npos);
}

TEST_F(EbsClientTest, ReadsAgainWhenABlockIsDamagedOrShort) {
  std::string damaged(kBlockBytes, '\1');
  damaged[1000] = '\2';
  AnswerBlock(damaged, kOnesChecksum);
  AnswerBlock(std::string(100, '\1'), kOnesChecksum);
  AnswerBlock(std::string(kBlockBytes, '\1'), kOnesChecksum);
  const auto got = Get();
  ASSERT_TRUE(got) << got.error().ToString();
  EXPECT_EQ(block_[1000], std::byte{1});
  EXPECT_EQ(fake_.http.sent().size(), 3U);
}

TEST_F(EbsClientTest, GivesUpOnABlockThatStaysDamaged) {
  for (int i = 0; i < 8; ++i) AnswerBlock(std::string(kBlockBytes, '\2'), kOnesChecksum);
  const auto got = Get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), "aws.ebs.checksum_mismatch");
  EXPECT_EQ(got.error().code(), ErrorCode::kDataLoss);
  EXPECT_EQ(*got.error().FindFact("block_index"), "7");
  EXPECT_EQ(*got.error().FindFact("snapshot_id"), "snap-1");
}

TEST_F(EbsClientTest, RefusesABlockWithoutChecksum) {
  for (int i = 0; i < 8; ++i) fake_.http.Answer(200, std::string(kBlockBytes, '\1'));
  EXPECT_EQ(Get().error().reason(), "aws.ebs.checksum_mismatch");
}

TEST_F(EbsClientTest, RefusesABlockThatIsTooLong) {
  AnswerBlock(std::string(kBlockBytes + 1, '\1'), kOnesChecksum);
  EXPECT_EQ(Get().error().reason(), "http.too_large");
}

TEST_F(EbsClientTest, ListsOnePage) {
  fake_.http.Answer(200,
                    R"({"Blocks":[{"BlockIndex":0,"BlockToken":"a"},{"BlockIndex":9,)"
                    R"("BlockToken":"b"}],"ExpiryTime":1.7e9,"VolumeSize":8,"BlockSize":524288,)"
                    R"("NextToken":"n"})");
  const auto page = client_.ListSnapshotBlocks(
      "snap-1", {.page_token = "p=", .starting_block_index = 5}, fake_.context);
  ASSERT_TRUE(page) << page.error().ToString();
  ASSERT_EQ(page->blocks.size(), 2U);
  EXPECT_EQ(page->blocks[1].index, 9U);
  EXPECT_EQ(page->blocks[1].token, "b");
  EXPECT_EQ(page->next_token, "n");
  EXPECT_EQ(page->volume_size_gib, 8U);
  const auto sent = fake_.http.sent().at(0);
  EXPECT_EQ(sent.url.path, "/snapshots/snap-1/blocks");
  EXPECT_EQ(sent.url.query, "maxResults=10000&pageToken=p%3D&startingBlockIndex=5");
}

TEST_F(EbsClientTest, AcceptsAnEmptyPageThatIsNotTheLast) {
  fake_.http.Answer(200, R"({"Blocks":[],"VolumeSize":8,"BlockSize":524288,"NextToken":"n"})");
  const auto page = client_.ListSnapshotBlocks("snap-1", {}, fake_.context);
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->blocks.empty());
  EXPECT_EQ(page->next_token, "n");
}

TEST_F(EbsClientTest, RefusesPagesThatContradictThemselves) {
  for (const char* body :
       {"", "[]", "{}", R"({"Blocks":[],"BlockSize":512})",
        R"({"Blocks":[{"BlockToken":"a"}],"BlockSize":524288})",
        R"({"Blocks":[{"BlockIndex":-1,"BlockToken":"a"}],"BlockSize":524288})",
        R"({"Blocks":[{"BlockIndex":2,"BlockToken":"a"},{"BlockIndex":2,"BlockToken":"a"}],)"
        R"("BlockSize":524288})"}) {
    FakeAwsCaller fake("http://127.0.0.1:1", "us-east-1", {.attempts_max = 1});
    fake.http.Answer(200, body);
    const auto page = Client(fake.caller).ListSnapshotBlocks("snap-1", {}, fake.context);
    ASSERT_FALSE(page) << body;
    EXPECT_EQ(page.error().reason(), "aws.bad_response") << body;
  }
}

}  // namespace
}  // namespace vmferry::aws::ebs
