// SPDX-License-Identifier: Apache-2.0
#include "sys/file.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "base/units.h"
#include "testing/temp_dir.h"

namespace vmferry::sys {
namespace {

TEST(File, ReadsAndWritesAtPositions) {
  const testing::TempDir dir;
  const auto file = File::Open(dir / "f", File::Mode::kCreate);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->WriteAt(3, AsBytes("abc")));
  std::array<std::byte, 6> out = {};
  ASSERT_TRUE(file->ReadAt(0, out));
  EXPECT_EQ(AsText(out), std::string_view("\0\0\0abc", 6));
  EXPECT_EQ(file->ReadAt(1, out).error().reason(), "io.short_read");
}

TEST(File, NamesWhatIsWrongWithAPath) {
  const testing::TempDir dir;
  EXPECT_EQ(File::Open(dir / "none", File::Mode::kRead).error().reason(), "io.not_found");
  EXPECT_EQ(File::Open(dir.path(), File::Mode::kRead).error().reason(), "io.is_directory");
}

TEST(File, FindsHolesAndData) {
  const testing::TempDir dir;
  const auto file = File::Open(dir / "f", File::Mode::kCreate);
  ASSERT_TRUE(file->Truncate(4 * kMiB));
  ASSERT_TRUE(file->WriteAt(kMiB, AsBytes("data")));
  const auto first = file->RunAt(0);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->hole);
  EXPECT_EQ(first->length_bytes, kMiB);
  const auto second = file->RunAt(kMiB);
  EXPECT_FALSE(second->hole);
  const auto last = file->RunAt(kMiB + second->length_bytes);
  EXPECT_TRUE(last->hole);
  EXPECT_EQ(last->offset_bytes + last->length_bytes, 4 * kMiB);
}

TEST(WriteWholeFile, ReplacesTheFileAndLeavesNoOther) {
  const testing::TempDir dir;
  ASSERT_TRUE(WriteWholeFile(dir / "f", "one"));
  ASSERT_TRUE(WriteWholeFile(dir / "f", "two"));
  EXPECT_EQ(*ReadWholeFile(dir / "f", 100), "two");
  EXPECT_EQ(ReadWholeFile(dir / "f", 2).error().reason(), "io.too_large");
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    ++count;
  }
  EXPECT_EQ(count, 1U);
}

TEST(File, LockIsSeenByASecondDescriptor) {
  const testing::TempDir dir;
  const auto one = File::Open(dir / "f", File::Mode::kCreate);
  const auto two = File::Open(dir / "f", File::Mode::kCreate);
  EXPECT_TRUE(*one->TryLock(true));
  EXPECT_FALSE(*two->TryLock(true));
}

}  // namespace
}  // namespace vmferry::sys
