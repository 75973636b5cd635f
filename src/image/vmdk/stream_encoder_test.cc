// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/stream_encoder.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/open.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/memory_output.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::uint64_t kGrain = 64 * kKiB;

/// A sparse raw disk with `runs` of random bytes in it.
class StreamEncoderTest : public ::testing::Test {
 protected:
  OpenedDisk MakeDisk(std::uint64_t size_bytes,
                      const std::vector<std::pair<std::uint64_t, std::uint64_t>>& runs) {
    const auto path = folder_ / "disk.raw";
    auto file = sys::File::Open(path, sys::File::Mode::kCreate);
    EXPECT_TRUE(file && file->Truncate(0) && file->Truncate(size_bytes));
    testing::FakeRandom random(7);
    for (const auto& [offset, length] : runs) {
      std::vector<std::byte> bytes(length);
      random.Fill(bytes);
      EXPECT_TRUE(file->WriteAt(offset, bytes));
    }
    auto disk = OpenDisk(path.string());
    EXPECT_TRUE(disk) << disk.error().ToString();
    return *std::move(disk);
  }

  static testing::MemoryOutput Encode(const DiskImage& disk, const StreamEncoderOptions& options,
                                      std::uint64_t piece_bytes = 0) {
    auto encoder = MakeStreamEncoder(disk.SizeBytes(), options);
    EXPECT_TRUE(encoder);
    auto out = testing::EncodeAll(**encoder, disk, kMiB, piece_bytes);
    EXPECT_TRUE(out) << out.error().ToString();
    return *std::move(out);
  }

  void ExpectSame(const testing::MemoryOutput& out) {
    const auto path = folder_ / "disk.vmdk";
    out.Save(path);
    const auto raw = folder_ / "disk.raw";
    if (testing::HasTool("qemu-img")) {
      const auto compared = testing::RunTool(
          {"qemu-img", "compare", "-f", "raw", "-F", "vmdk", raw.string(), path.string()});
      EXPECT_TRUE(compared.ok()) << compared.output << compared.error_output;
    }
    const auto ours = OpenDisk(path.string());
    ASSERT_TRUE(ours) << ours.error().ToString();
    EXPECT_EQ(ours->image->Info().subformat, "streamOptimized");
    const auto source = OpenDisk(raw.string());
    ASSERT_TRUE(source);
    ASSERT_GE(ours->image->SizeBytes(), source->image->SizeBytes());
    std::vector<std::byte> expected(std::min<std::uint64_t>(source->image->SizeBytes(), 4 * kMiB));
    std::vector<std::byte> found(expected.size());
    ASSERT_TRUE(source->image->Read(0, expected));
    ASSERT_TRUE(ours->image->Read(0, found));
    EXPECT_EQ(expected, found);
  }

  testing::TempDir folder_;
};

TEST_F(StreamEncoderTest, OthersReadWhatItWrites) {
  const std::uint64_t table = 512 * kGrain;
  const struct {
    std::uint64_t size_bytes;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
  } cases[] = {
      {kSectorBytes, {{0, 512}}},
      {kMiB, {}},
      {3 * kGrain + 512, {{3 * kGrain, 512}}},
      {table, {{0, 100}, {table - 1000, 1000}}},
      {table + 512, {{table - kGrain, kGrain + 512}}},
      {5 * kGiB, {{kGiB + 4096, 3 * kMiB}, {5 * kGiB - kGrain, kGrain}}},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.size_bytes);
    const OpenedDisk disk = MakeDisk(c.size_bytes, c.runs);
    ExpectSame(Encode(*disk.image, {}));
    ExpectSame(Encode(*disk.image, {.content_id_from_content = true}));
  }
}

TEST_F(StreamEncoderTest, GoesOnFromAnyCursorWithTheSameBytes) {
  const OpenedDisk disk = MakeDisk(
      256 * kMiB,
      {{0, 3 * kMiB}, {31 * kMiB, 2 * kMiB}, {100 * kMiB, kMiB}, {256 * kMiB - kGrain, kGrain}});
  const testing::MemoryOutput whole = Encode(*disk.image, {}, /*piece_bytes=*/kMiB);
  const std::vector<std::byte> bytes = whole.Bytes();
  ASSERT_GE(whole.cursors().size(), 4U);
  for (std::size_t i = 0; i < whole.cursors().size(); ++i) {
    SCOPED_TRACE(i);
    auto encoder = MakeStreamEncoder(disk.image->SizeBytes());
    ASSERT_TRUE(encoder);
    for (std::size_t j = 0; j <= i; ++j) ASSERT_TRUE((*encoder)->Restore(whole.cursors()[j]));
    const EncoderCursor& from = whole.cursors()[i];
    testing::MemoryOutput rest(kMiB, from.output_offset_bytes);
    ASSERT_TRUE(testing::EncodeRest(**encoder, *disk.image, kMiB, from.guest_offset_bytes, rest));
    EXPECT_EQ(
        rest.Bytes(),
        std::vector<std::byte>(
            bytes.begin() + static_cast<std::ptrdiff_t>(from.output_offset_bytes), bytes.end()));
  }
}

TEST_F(StreamEncoderTest, RefusesAStateThatCannotBe) {
  const OpenedDisk disk = MakeDisk(8 * kMiB, {{0, 4 * kMiB}});
  const testing::MemoryOutput whole = Encode(*disk.image, {}, /*piece_bytes=*/kMiB);
  ASSERT_FALSE(whole.cursors().empty());
  for (const std::size_t cut : {std::size_t{0}, std::size_t{3}, std::size_t{100}}) {
    EncoderCursor cursor = whole.cursors().front();
    cursor.state.resize(cut);
    auto encoder = MakeStreamEncoder(disk.image->SizeBytes());
    ASSERT_TRUE(encoder);
    const auto restored = (*encoder)->Restore(cursor);
    ASSERT_FALSE(restored);
    EXPECT_EQ(restored.error().reason(), "encoder.bad_state");
  }
}

TEST_F(StreamEncoderTest, ContentMakesTheContentId) {
  const auto id_of = [&](const OpenedDisk& disk) {
    const auto bytes = Encode(*disk.image, {.content_id_from_content = true}).Bytes(512, 200);
    const std::string text(AsText(bytes));
    const std::size_t at = text.find("\nCID=");
    EXPECT_NE(at, text.npos) << text;
    return text.substr(at + 5, 8);
  };
  const std::string first = id_of(MakeDisk(kMiB, {{0, 512}}));
  const std::string again = id_of(MakeDisk(kMiB, {{0, 512}}));
  const std::string other = id_of(MakeDisk(kMiB, {{512, 512}}));
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
}

TEST_F(StreamEncoderTest, GrowsAnOddSizeToASector) {
  const OpenedDisk disk = MakeDisk(100'000, {{99'990, 10}});
  const auto encoder = MakeStreamEncoder(disk.image->SizeBytes());
  ASSERT_TRUE(encoder);
  EXPECT_EQ((*encoder)->Info().virtual_size_bytes, 100'352U);
  EXPECT_EQ((*encoder)->Info().remarks.size(), 1U);
}

TEST(MakeStreamEncoder, RefusesWhatIsTooLarge) {
  const auto encoder = MakeStreamEncoder(64 * kTiB + 512);
  ASSERT_FALSE(encoder);
  EXPECT_EQ(encoder.error().reason(), "vmdk.encoder.too_large");
}

}  // namespace
}  // namespace vmferry::image::vmdk
