// SPDX-License-Identifier: Apache-2.0
#include "transfer/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "base/units.h"
#include "image/make_encoder.h"
#include "image/open.h"
#include "image/vmdk/stream_encoder.h"
#include "testing/fake_random.h"
#include "testing/memory_output.h"
#include "testing/temp_dir.h"
#include "transfer/convert.h"
#include "transfer/part_cutter.h"

namespace vmferry::transfer {
namespace {

class EncodeTest : public ::testing::Test {
 protected:
  EncodeTest() {
    const auto path = folder_ / "disk.raw";
    auto file = sys::File::Open(path, sys::File::Mode::kCreate);
    EXPECT_TRUE(file && file->Truncate(kSize));
    testing::FakeRandom random(3);
    std::vector<std::byte> bytes(3 * kMiB + 5);
    for (const std::uint64_t offset :
         {std::uint64_t{4096}, 100 * kMiB, 40 * kGiB + 512, kSize - bytes.size()}) {
      random.Fill(std::span(bytes).first(2 * kMiB));  // the rest stays: it compresses
      EXPECT_TRUE(file->WriteAt(offset, bytes));
    }
    auto disk = image::OpenDisk(path.string());
    EXPECT_TRUE(disk);
    disk_ = *std::move(disk);
  }

  struct Taken {
    std::map<std::uint64_t, std::vector<std::byte>> bytes;  ///< by offset
    std::vector<image::EncoderCursor> ends;                 ///< by piece number
    EncodeOutcome outcome;
  };

  Taken Run(image::Encoder& encoder, const EncodeOptions& options) {
    Taken taken;
    std::mutex mutex;
    std::map<std::uint64_t, image::EncoderCursor> ends;
    const auto outcome = EncodeDisk(
        *disk_.image, encoder, options,
        [&](EncodedPiece& piece, const OpContext&) -> Result<void> {
          const std::lock_guard lock(mutex);
          EXPECT_EQ(piece.bytes.size(), piece.piece.length_bytes);
          const auto bytes = piece.bytes.bytes();
          taken.bytes[piece.piece.offset_bytes] = {bytes.begin(), bytes.end()};
          ends[piece.piece.number] = piece.end;
          return {};
        },
        [](const EncodeProgress&) {}, {});
    EXPECT_TRUE(outcome) << outcome.error().ToString();
    taken.outcome = *outcome;
    for (auto& [number, end] : ends) taken.ends.push_back(std::move(end));
    return taken;
  }

  static constexpr std::uint64_t kSize = 64 * kGiB;
  testing::TempDir folder_;
  image::OpenedDisk disk_;
};

TEST_F(EncodeTest, PartsCoverAllDataOnceAndHoldWholeUnits) {
  PartCutter cutter(*disk_.image, 64 * kKiB, kMiB, 0);
  std::uint64_t at = 0;
  std::uint64_t data_bytes = 0;
  while (true) {
    auto part = cutter.Next();
    ASSERT_TRUE(part);
    if (!*part) break;
    EXPECT_GE((*part)->offset_bytes, at);
    EXPECT_EQ((*part)->offset_bytes % (64 * kKiB), 0U);
    EXPECT_LE((*part)->length_bytes, kMiB);
    std::uint64_t covered = (*part)->offset_bytes;
    for (const image::Extent& extent : (*part)->extents) {
      EXPECT_EQ(extent.offset_bytes, covered);
      covered += extent.length_bytes;
      if (extent.kind == image::ExtentKind::kData) data_bytes += extent.length_bytes;
    }
    at = (*part)->offset_bytes + (*part)->length_bytes;
    EXPECT_EQ(covered, at);
  }
  std::uint64_t expected = 0;
  const auto extents = disk_.image->Extents(0, kSize);
  ASSERT_TRUE(extents);
  for (const image::Extent& extent : *extents) {
    if (extent.kind == image::ExtentKind::kData) expected += extent.length_bytes;
  }
  EXPECT_EQ(data_bytes, expected);
}

TEST_F(EncodeTest, ThreadsAndPartSizesDoNotChangeTheBytes) {
  const auto encode = [&](std::uint32_t threads, std::uint64_t part_bytes) {
    auto encoder = image::vmdk::MakeStreamEncoder(kSize);
    EXPECT_TRUE(encoder);
    return Run(**encoder, {.threads = threads, .part_bytes = part_bytes, .piece_bytes = kMiB});
  };
  const Taken one = encode(1, kMiB);
  EXPECT_GT(one.bytes.size(), 5U);
  EXPECT_EQ(encode(8, kMiB).bytes, one.bytes);
  EXPECT_EQ(encode(3, 64 * kKiB).bytes, one.bytes);
}

TEST_F(EncodeTest, GoesOnWithTheSamePieces) {
  const EncodeOptions options = {.threads = 4, .piece_bytes = kMiB};
  auto first = image::vmdk::MakeStreamEncoder(kSize);
  ASSERT_TRUE(first);
  const Taken whole = Run(**first, options);
  EncodeOptions resumed = options;
  resumed.cursors = {whole.ends.begin(), whole.ends.begin() + 3};
  auto second = image::vmdk::MakeStreamEncoder(kSize);
  ASSERT_TRUE(second);
  const Taken rest = Run(**second, resumed);
  EXPECT_EQ(rest.outcome.pieces, whole.outcome.pieces);
  EXPECT_EQ(rest.outcome.output_bytes, whole.outcome.output_bytes);
  auto expected = whole.bytes;
  expected.erase(expected.begin(), std::next(expected.begin(), 3));
  EXPECT_EQ(rest.bytes, expected);
}

TEST_F(EncodeTest, AFailingTakerEndsTheRun) {
  auto encoder = image::vmdk::MakeStreamEncoder(kSize);
  ASSERT_TRUE(encoder);
  const auto outcome = EncodeDisk(
      *disk_.image, **encoder, {.threads = 4, .piece_bytes = kMiB},
      [](EncodedPiece& piece, const OpContext&) -> Result<void> {
        if (piece.piece.number != 2) return {};
        return Error(ErrorCode::kUnavailable, "test.refused", "refused");
      },
      [](const EncodeProgress&) {}, {});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "test.refused");
}

TEST_F(EncodeTest, EveryFormatReadsBackFromItsFile) {
  for (const std::string& name : image::OutputFormatNames()) {
    SCOPED_TRACE(name);
    auto encoder =
        image::MakeEncoder(*image::ParseOutputFormat(name), kSize, {.file_name = "copy"});
    ASSERT_TRUE(encoder) << encoder.error().ToString();
    const auto path = folder_ / ("copy-" + name + ".img");
    const auto written =
        ConvertToFile(*disk_.image, **encoder, path, {}, [](const EncodeProgress&) {}, {});
    ASSERT_TRUE(written) << written.error().ToString();
    EXPECT_FALSE(std::filesystem::exists(folder_ / (".copy-" + name + ".img.vmferry-part")));
    const auto copy = image::OpenDisk(path.string());
    ASSERT_TRUE(copy) << copy.error().ToString();
    EXPECT_EQ(copy->image->SizeBytes(), (*encoder)->Info().virtual_size_bytes);
    for (const std::uint64_t offset : {std::uint64_t{0}, 100 * kMiB - 7, 40 * kGiB, kSize - kMiB}) {
      std::vector<std::byte> expected(kMiB);
      std::vector<std::byte> found(kMiB);
      ASSERT_TRUE(disk_.image->Read(offset, expected));
      ASSERT_TRUE(copy->image->Read(offset, found));
      EXPECT_EQ(expected, found) << offset;
    }
  }
}

TEST_F(EncodeTest, NoFormatGathersItsOutputInMemory) {
  for (const std::string& name : image::OutputFormatNames()) {
    auto encoder = image::MakeEncoder(*image::ParseOutputFormat(name), kSize, {});
    ASSERT_TRUE(encoder) << name;
    const Taken taken = Run(**encoder, {.threads = 2, .piece_bytes = kMiB});
    for (const auto& [offset_bytes, bytes] : taken.bytes) {
      EXPECT_LE(bytes.size(), 6 * kMiB) << name << " at " << offset_bytes;
    }
  }
}

TEST_F(EncodeTest, LeavesAnExistingFileAlone) {
  auto encoder = image::MakeEncoder(image::OutputFormat::kRaw, kSize, {});
  ASSERT_TRUE(encoder);
  const auto refused = ConvertToFile(*disk_.image, **encoder, folder_ / "disk.raw", {},
                                     [](const EncodeProgress&) {}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "target.exists");
}

TEST_F(EncodeTest, AStrangersLinkInPlaceOfTheHalfWrittenFileIsNotFollowed) {
  auto encoder = image::MakeEncoder(image::OutputFormat::kRaw, kSize, {});
  ASSERT_TRUE(encoder);
  const auto other = folder_ / "other";
  ASSERT_TRUE(sys::WriteWholeFile(other, "kept"));
  std::filesystem::create_symlink(other, folder_ / ".copy.raw.vmferry-part");
  const auto refused = ConvertToFile(*disk_.image, **encoder, folder_ / "copy.raw", {},
                                     [](const EncodeProgress&) {}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "target.busy");
  EXPECT_EQ(*sys::ReadWholeFile(other, 100), "kept");
}

TEST_F(EncodeTest, AStoppedRunLeavesNothing) {
  auto encoder = image::vmdk::MakeStreamEncoder(kSize);
  ASSERT_TRUE(encoder);
  std::stop_source stop;
  stop.request_stop();
  const auto path = folder_ / "copy.vmdk";
  const auto outcome = ConvertToFile(*disk_.image, **encoder, path, {},
                                     [](const EncodeProgress&) {}, {.stop = stop.get_token()});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "transfer.stopped");
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(folder_ / ".copy.vmdk.vmferry-part"));
}

}  // namespace
}  // namespace vmferry::transfer
