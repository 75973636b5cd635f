// SPDX-License-Identifier: Apache-2.0
#include "proof/hash_tree_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "proof/check_disk.h"
#include "sys/file.h"
#include "testing/extents_disk.h"
#include "testing/temp_dir.h"

namespace vmferry::proof {
namespace {

using image::ExtentKind;
using testing::ExtentsDisk;
using testing::TempDir;

/// 5 GiB and a bit, with data in the first and the third blob.
ExtentsDisk MakeDisk() {
  return ExtentsDisk({{0, kMiB, ExtentKind::kData},
                      {kMiB, 4 * kGiB, ExtentKind::kHole},
                      {kMiB + 4 * kGiB, kMiB + 512, ExtentKind::kData},
                      {2 * kMiB + 4 * kGiB + 512, kGiB, ExtentKind::kZero}});
}

HashTree TreeOf(const image::DiskImage& disk) {
  HashTree tree = {.source = "disk.vmdk",
                   .format = "vmdk streamOptimized",
                   .virtual_size_bytes = disk.SizeBytes()};
  const auto hash = HashDisk(disk, VolumeBytesOf(disk.SizeBytes()), {}, {});
  EXPECT_TRUE(hash.has_value());
  tree.hash = *hash;
  return tree;
}

std::string TextOf(const HashTree& tree) {
  std::string text;
  EXPECT_TRUE(PrintHashTree(tree, [&](std::string_view line) {
    text += line;
    return Result<void>();
  }));
  return text;
}

Result<HashTree> Parse(const std::string& text) {
  return ParseHashTree([&](std::uint64_t offset, std::span<std::byte> out) -> Result<std::size_t> {
    const auto bytes = AsBytes(text).subspan(std::min<std::size_t>(offset, text.size()));
    const std::size_t count = std::min(bytes.size(), out.size());
    std::memcpy(out.data(), bytes.data(), count);
    return count;
  });
}

std::string Refusal(const std::string& text) {
  const auto tree = Parse(text);
  if (tree) return "";
  EXPECT_FALSE(tree.error().message().empty());
  return tree.error().reason();
}

std::string Replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return at == text.npos ? text : text.replace(at, from.size(), to);
}

TEST(HashTreeFile, WhatIsWrittenIsRead) {
  const TempDir folder;
  const HashTree tree = TreeOf(MakeDisk());
  ASSERT_TRUE(WriteHashTree(folder / "tree.json", tree));
  const auto read = ReadHashTree(folder / "tree.json");
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(*read, tree);
  EXPECT_EQ(read->hash.block_count, 6 * kGiB / kLeafBlockBytes);
  // Nothing is left beside it.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(HashTreeFile, ADiskWithoutDataHasNoBlobs) {
  const HashTree tree = TreeOf(ExtentsDisk({{0, 100 * kGiB, ExtentKind::kHole}}));
  const std::string text = TextOf(tree);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  const auto read = Parse(text);
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(*read, tree);
}

TEST(HashTreeFile, AFileLaidOutAnewIsReadAllTheSame) {
  const HashTree tree = TreeOf(MakeDisk());
  std::string text = TextOf(tree);
  text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
  const auto read = Parse(text);
  ASSERT_TRUE(read.has_value()) << read.error().ToString();
  EXPECT_EQ(*read, tree);
}

TEST(HashTreeFile, AFailedWriteLeavesNothing) {
  const TempDir folder;
  const auto written = WriteHashTree(folder / "no/such/folder", TreeOf(MakeDisk()));
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().reason(), "io.not_found");
}

TEST(HashTreeCorruption, EachFieldIsChecked) {
  const std::string good = TextOf(TreeOf(MakeDisk()));
  const std::string malformed = "hashtree.malformed";
  struct Case {
    const char* from;
    const char* to;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {"vmferry.hash-tree/1", "vmferry.hash-tree/2", "hashtree.schema"},
      {"\"schema\"", "\"scheme\"", malformed},
      {"\"disk.vmdk\"", "1", malformed},
      {"\"virtual_size_bytes\":5", "\"virtual_size_bytes\":7", malformed},
      {"\"virtual_size_bytes\":5", "\"virtual_size_bytes\":-5", malformed},
      {"\"virtual_size_bytes\":5", "\"virtual_size_bytes\":999999995", malformed},
      {"\"volume_size_bytes\":6", "\"volume_size_bytes\":7", malformed},
      {"\"block_size_bytes\":524288", "\"block_size_bytes\":524289", malformed},
      {"\"block_count\":12288", "\"block_count\":12289", malformed},
      {"\"block_count\":12288", "\"block_count\":1.5", malformed},
      {"\"data\":5", "\"data\":4", malformed},
      {"\"data\":5", "\"data\":9223372036854775807", malformed},
      {"\"zero\":", "\"zero\":-", malformed},
      {"\"root\":\"", "\"root\":\"x", malformed},
      {"\"root\":\"", "\"root\":\"00", malformed},
      {"\"index\":0", "\"index\":1", "hashtree.root_mismatch"},
      {"\"index\":0", "\"index\":2", malformed},
      {"\"index\":0", "\"index\":-1", malformed},
      {"\"index\":2", "\"index\":3", malformed},
      {"\"index\":2", "\"index\":0", malformed},
      {"\"leaves\":\"", "\"leaves\":\"AAAA", malformed},
      {"\"leaves\":\"", "\"leaves\":\"!", malformed},
      {"},\n", "}\n", malformed},
      {",\"blobs\":[\n", ",\"blobs\":[\n\n", malformed},
      {"\n]}", "\n", malformed},
      {"\n]}\n", "\n]}\n]}\n", malformed},
  };
  for (const Case& tested : cases) {
    EXPECT_EQ(Refusal(Replaced(good, tested.from, tested.to)), tested.reason)
        << tested.from << " -> " << tested.to;
  }
}

TEST(HashTreeCorruption, AnyChangedLeafIsNoticed) {
  std::string text = TextOf(TreeOf(MakeDisk()));
  const std::size_t leaf = text.find("\"leaves\":\"") + 10 + 8;
  text[leaf] = text[leaf] == 'A' ? 'B' : 'A';
  EXPECT_EQ(Refusal(text), "hashtree.root_mismatch");
}

TEST(HashTreeCorruption, CutOffAnywhereIsRefused) {
  const std::string good = TextOf(TreeOf(MakeDisk()));
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{1}, std::size_t{100}, good.find('\n'), good.find('\n') + 1,
        good.size() / 2, good.size() - 3, good.size() - 2}) {
    const std::string reason = Refusal(good.substr(0, length));
    EXPECT_EQ(reason, length == good.size() - 1 ? "" : "hashtree.malformed") << length;
  }
}

TEST(HashTreeCorruption, LinesWithoutEndAreNotCollected) {
  EXPECT_EQ(Refusal(std::string(40 * kMiB, 'x')), "hashtree.malformed");
}

TEST(CheckDisk, TellsTheSameDiskByItsTree) {
  const ExtentsDisk disk = MakeDisk();
  const HashTree tree = TreeOf(disk);
  const auto check = CheckDisk(disk, tree, {.threads = 3}, {});
  ASSERT_TRUE(check.has_value());
  EXPECT_TRUE(check->same_bytes());
  EXPECT_TRUE(check->same_size());
  EXPECT_EQ(check->counts, tree.hash.counts);
}

TEST(CheckDisk, NamesBlocksThatDiffer) {
  const HashTree tree = TreeOf(MakeDisk());
  // Blocks 0 and 1 are lost, and a MiB of the zeros holds ones.
  ExtentsDisk changed({{0, kMiB + 4 * kGiB, ExtentKind::kHole},
                       {kMiB + 4 * kGiB, 2 * kMiB + 512, ExtentKind::kData},
                       {3 * kMiB + 4 * kGiB + 512, kGiB - kMiB, ExtentKind::kZero}});
  changed.Put(kMiB + 4 * kGiB + 7, std::byte{9});
  const auto check = CheckDisk(changed, tree, {}, {});
  ASSERT_TRUE(check.has_value());
  EXPECT_FALSE(check->same_bytes());
  const std::uint64_t first = kMiB + 4 * kGiB;
  EXPECT_EQ(check->ranges,
            (std::vector<DifferingRange>{
                {0, kMiB}, {first, kLeafBlockBytes}, {first + kMiB, 3 * kLeafBlockBytes}}));
  EXPECT_EQ(check->differing_blocks, 6U);
}

TEST(CheckDisk, ALongerDiskIsTheSameWhenItsRestIsZero) {
  const ExtentsDisk disk({{0, kMiB, ExtentKind::kData}});
  const ExtentsDisk longer({{0, kMiB, ExtentKind::kData}, {kMiB, 3 * kGiB, ExtentKind::kHole}});
  for (const auto& check :
       {CheckDisk(longer, TreeOf(disk), {}, {}), CheckDisk(disk, TreeOf(longer), {}, {})}) {
    ASSERT_TRUE(check.has_value());
    EXPECT_TRUE(check->same_bytes());
    EXPECT_FALSE(check->same_size());
  }
}

}  // namespace
}  // namespace vmferry::proof
