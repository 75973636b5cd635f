// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/extent_list.h"
#include "image/open.h"
#include "image/vhd/footer.h"
#include "image/vhd/vhd_image.h"
#include "testing/fake_random.h"
#include "testing/memory_output.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::vhd {
namespace {

using testing::EncodeAll;
using testing::FakeRandom;
using testing::MemoryOutput;
using testing::RunTool;
using testing::TempDir;
using Bytes = std::vector<std::byte>;

/// A disk in memory: runs of data on a ground of holes, and runs that are said to be zero.
class PatchDisk final : public DiskImage {
 public:
  explicit PatchDisk(std::uint64_t size_bytes) : size_bytes_(size_bytes) {
    info_.virtual_size_bytes = size_bytes;
  }

  /// Runs do not touch each other. No bytes: zeros.
  void Put(std::uint64_t offset_bytes, std::uint64_t length_bytes, Bytes bytes = {}) {
    runs_[offset_bytes] = {length_bytes, std::move(bytes)};
  }
  void PutRandom(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    FakeRandom random(offset_bytes + 1);
    Bytes bytes(length_bytes);
    random.Fill(bytes);
    Put(offset_bytes, length_bytes, std::move(bytes));
  }

  std::uint64_t SizeBytes() const override { return size_bytes_; }
  const DiskImageInfo& Info() const override { return info_; }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    VMFERRY_RETURN_IF_ERROR(CheckRange(size_bytes_, offset_bytes, out.size()));
    std::fill(out.begin(), out.end(), std::byte{0});
    for (const auto& [begin, run] : runs_) {
      const std::uint64_t from = std::max(begin, offset_bytes);
      const std::uint64_t to = std::min(begin + run.bytes.size(), offset_bytes + out.size());
      if (from < to) std::memcpy(&out[from - offset_bytes], &run.bytes[from - begin], to - from);
    }
    return {};
  }

  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override {
    std::vector<Extent> extents;
    std::uint64_t at = offset_bytes;
    const std::uint64_t end = offset_bytes + length_bytes;
    for (const auto& [begin, run] : runs_) {
      const std::uint64_t from = std::max(begin, at);
      const std::uint64_t to = std::min(begin + run.length_bytes, end);
      if (from >= to) continue;
      AppendExtent(extents, {at, from - at, ExtentKind::kHole});
      AppendExtent(extents,
                   {from, to - from, run.bytes.empty() ? ExtentKind::kZero : ExtentKind::kData});
      at = to;
    }
    AppendExtent(extents, {at, end - at, ExtentKind::kHole});
    return extents;
  }

 private:
  struct Run {
    std::uint64_t length_bytes = 0;
    Bytes bytes;
  };
  const std::uint64_t size_bytes_;
  DiskImageInfo info_;
  std::map<std::uint64_t, Run> runs_;
};

enum class Kind { kFixed, kDynamic };

std::unique_ptr<Encoder> Make(Kind kind, std::uint64_t size_bytes,
                              const EncoderOptions& options = {}) {
  auto encoder = kind == Kind::kFixed ? MakeFixedEncoder(size_bytes, options)
                                      : MakeDynamicEncoder(size_bytes, options);
  EXPECT_TRUE(encoder.has_value()) << encoder.error().ToString();
  return encoder ? std::move(*encoder) : nullptr;
}

MemoryOutput Encode(Kind kind, const DiskImage& disk, std::uint64_t part_bytes = 4 * kMiB) {
  const auto encoder = Make(kind, disk.SizeBytes());
  auto out = EncodeAll(*encoder, disk, part_bytes);
  EXPECT_TRUE(out.has_value()) << out.error().ToString();
  return std::move(*out);
}

/// Both disks hold the same bytes; looks only where one has data.
void ExpectSame(const DiskImage& left, const DiskImage& right) {
  const std::uint64_t size_bytes = std::min(left.SizeBytes(), right.SizeBytes());
  for (const DiskImage* guide : {&left, &right}) {
    const auto extents = guide->Extents(0, size_bytes);
    ASSERT_TRUE(extents.has_value());
    for (const Extent& extent : *extents) {
      if (extent.kind != ExtentKind::kData) continue;
      Bytes a(extent.length_bytes);
      Bytes b(extent.length_bytes);
      ASSERT_TRUE(left.Read(extent.offset_bytes, a).has_value());
      ASSERT_TRUE(right.Read(extent.offset_bytes, b).has_value());
      ASSERT_TRUE(a == b) << extent.offset_bytes;
    }
  }
}

/// Data at the front, across a block boundary, in the middle, and at the end.
PatchDisk MakeDisk(std::uint64_t size_bytes) {
  PatchDisk disk(size_bytes);
  disk.PutRandom(0, std::min<std::uint64_t>(4096, size_bytes));
  if (size_bytes > 7 * kMiB) {
    disk.PutRandom(2 * kMiB - 5000, 10000);
    disk.Put(3 * kMiB, kMiB);               // said to be zero
    disk.Put(4 * kMiB, kMiB, Bytes(kMiB));  // data that is zero
    disk.PutRandom(6 * kMiB, 700 * kKiB);
    disk.PutRandom(size_bytes - 1000, 1000);
  }
  return disk;
}

class VhdEncoder : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, VhdEncoder, ::testing::Values(Kind::kFixed, Kind::kDynamic),
                         [](const auto& tested) {
                           return tested.param == Kind::kFixed ? "Fixed" : "Dynamic";
                         });

TEST_P(VhdEncoder, IsReadBackByEverybody) {
  const TempDir dir;
  for (const std::uint64_t size_bytes :
       {std::uint64_t{512}, std::uint64_t{1000}, 2 * kMiB - 512, 2 * kMiB, 2 * kMiB + 512,
        8 * kMiB + 1536, 9 * kMiB + 100}) {
    SCOPED_TRACE(size_bytes);
    const PatchDisk disk = MakeDisk(size_bytes);
    const std::uint64_t rounded_bytes = (size_bytes + 511) / 512 * 512;
    Encode(GetParam(), disk).Save(dir / "a.vhd");
    const auto opened = OpenDisk((dir / "a.vhd").string(), {});
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    EXPECT_EQ(opened->image->SizeBytes(), rounded_bytes);
    EXPECT_TRUE(opened->image->Info().defects.empty());
    EXPECT_EQ(opened->image->Info().wire_format, "VHD");
    ExpectSame(disk, *opened->image);

    if (!testing::HasTool("qemu-img")) continue;
    Bytes raw(size_bytes);
    ASSERT_TRUE(disk.Read(0, raw).has_value());
    raw.resize(rounded_bytes);
    ASSERT_TRUE(sys::WriteWholeFile(dir / "a.raw", AsText(raw)).has_value());
    const auto same = RunTool({"qemu-img", "compare", "-f", "vpc", "-F", "raw",
                               (dir / "a.vhd").string(), (dir / "a.raw").string()});
    EXPECT_TRUE(same.ok()) << same.output << same.error_output;
    EXPECT_EQ((same.output + same.error_output).find("mismatch"), std::string::npos);
  }
}

TEST_P(VhdEncoder, IsWhatLibvhdiReads) {
  VMFERRY_NEEDS_TOOL("vhdiinfo");
  const TempDir dir;
  const PatchDisk disk = MakeDisk(9 * kMiB + 512);
  Encode(GetParam(), disk).Save(dir / "a.vhd");
  const auto info = RunTool({"vhdiinfo", (dir / "a.vhd").string()});
  EXPECT_TRUE(info.ok()) << info.error_output;
  EXPECT_NE(info.output.find("(9437696 bytes)"), std::string::npos) << info.output;
}

TEST_P(VhdEncoder, GivesTheSameFileHoweverItIsCut) {
  PatchDisk disk = MakeDisk(10 * kMiB);
  const Bytes file = Encode(GetParam(), disk, 2 * kMiB).Bytes();
  EXPECT_TRUE(Encode(GetParam(), disk, 16 * kMiB).Bytes() == file);
  // Nor does it matter what the source says about its zeros.
  PatchDisk plain(10 * kMiB);
  Bytes all(10 * kMiB);
  ASSERT_TRUE(disk.Read(0, all).has_value());
  plain.Put(0, all.size(), all);
  EXPECT_TRUE(Encode(GetParam(), plain).Bytes() == file);
  // Another content is another disk.
  all[5 * kMiB] = std::byte{1};
  plain.Put(0, all.size(), all);
  const auto id = [](const Bytes& bytes) {
    return ParseFooter(std::span(bytes).last(kFooterBytes))->unique_id;
  };
  EXPECT_NE(id(Encode(GetParam(), plain).Bytes()), id(file));
}

TEST_P(VhdEncoder, WritesTheLargestDiskThereIs) {
  PatchDisk disk(kMaxDiskBytes);
  disk.PutRandom(kTiB, 65536);
  disk.PutRandom(kMaxDiskBytes - 512, 512);
  const MemoryOutput out = Encode(GetParam(), disk, 32 * kMiB);
  const TempDir dir;
  out.Save(dir / "a.vhd");
  const auto opened = OpenDisk((dir / "a.vhd").string(), {});
  ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
  EXPECT_EQ(opened->image->SizeBytes(), kMaxDiskBytes);
  ExpectSame(disk, *opened->image);
  if (!testing::HasTool("qemu-img")) return;
  const auto info = RunTool({"qemu-img", "info", "-f", "vpc", (dir / "a.vhd").string()});
  EXPECT_NE(info.output.find("(2190433320960 bytes)"), std::string::npos) << info.output;
}

TEST_P(VhdEncoder, RefusesLargerDisks) {
  const auto encoder = GetParam() == Kind::kFixed ? MakeFixedEncoder(kMaxDiskBytes + 1)
                                                  : MakeDynamicEncoder(kMaxDiskBytes + 1);
  ASSERT_FALSE(encoder.has_value());
  EXPECT_EQ(encoder.error().reason(), "vhd.encoder.too_large");
}

TEST_P(VhdEncoder, RemarksOnSizes) {
  const auto remarks = [&](std::uint64_t size_bytes) {
    std::string all;
    const auto encoder = Make(GetParam(), size_bytes);
    for (const std::string& remark : encoder->Info().remarks) all += remark;
    return all;
  };
  EXPECT_NE(remarks(1000).find("rounded up to whole sectors: 1024"), std::string::npos);
  EXPECT_NE(remarks(8 * kGiB).find("counts by geometry"), std::string::npos);
  EXPECT_EQ(remarks(std::uint64_t{16} * 63 * 1024 * 1024), "");
  EXPECT_EQ(remarks(kMaxDiskBytes), "");
  EXPECT_EQ(Make(GetParam(), 1000)->Info().virtual_size_bytes, 1024U);
}

TEST_P(VhdEncoder, StampsTheGivenTime) {
  const PatchDisk disk = MakeDisk(kMiB);
  const auto stamp = [&](std::uint64_t seconds) {
    const auto encoder = Make(GetParam(), disk.SizeBytes(), {.unix_time_seconds = seconds});
    const Bytes file = EncodeAll(*encoder, disk, kMiB)->Bytes();
    return ParseFooter(std::span(file).last(kFooterBytes))->created_seconds;
  };
  EXPECT_EQ(stamp(0), 0U);
  EXPECT_EQ(stamp(946684800 + 77), 77U);
  EXPECT_EQ(stamp(~std::uint64_t{0}), 0xffffffffU);
}

TEST_P(VhdEncoder, PassesOnReadErrors) {
  class Broken final : public DiskImage {
   public:
    std::uint64_t SizeBytes() const override { return kMiB; }
    Result<void> Read(std::uint64_t, std::span<std::byte>) const override {
      return Error(ErrorCode::kUnavailable, "io.read_failed", "no");
    }
    Result<std::vector<Extent>> Extents(std::uint64_t at, std::uint64_t length) const override {
      return std::vector<Extent>{{at, length, ExtentKind::kData}};
    }
    const DiskImageInfo& Info() const override { return info_; }

   private:
    DiskImageInfo info_;
  };
  const auto encoder = Make(GetParam(), kMiB);
  const auto out = EncodeAll(*encoder, Broken(), kMiB);
  ASSERT_FALSE(out.has_value());
  EXPECT_EQ(out.error().reason(), "io.read_failed");
}

TEST_P(VhdEncoder, WritesNoDiskAtAll) {
  const PatchDisk disk(0);
  const Bytes file = Encode(GetParam(), disk).Bytes();
  const auto opened = Open(MakeMemorySource(file), NoCompanions());
  ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
  EXPECT_EQ((*opened)->SizeBytes(), 0U);
}

TEST(VhdFixedEncoder, GoesOnFromEachCursor) {
  PatchDisk disk(6 * kMiB + 512);
  disk.PutRandom(0, 600 * kKiB);
  disk.PutRandom(4 * kMiB + 65536, kMiB);
  disk.PutRandom(6 * kMiB, 512);
  const auto encoder = Make(Kind::kFixed, disk.SizeBytes());
  const auto whole = EncodeAll(*encoder, disk, 256 * kKiB, 512 * kKiB);
  ASSERT_TRUE(whole.has_value());
  EXPECT_GE(whole->cursors().size(), 6U);  // long holes are cut, too
  EXPECT_EQ(whole->overwrites(), 0U);
  const Bytes file = whole->Bytes();
  EXPECT_EQ(file.size(), *encoder->Info().output_size_bytes);
  for (const EncoderCursor& cursor : whole->cursors()) {
    const auto again = Make(Kind::kFixed, disk.SizeBytes());
    ASSERT_TRUE(again->Restore(cursor).has_value());
    MemoryOutput out(512 * kKiB, cursor.output_offset_bytes);
    ASSERT_TRUE(
        testing::EncodeRest(*again, disk, 256 * kKiB, cursor.guest_offset_bytes, out).has_value());
    const Bytes rest = out.Bytes();
    ASSERT_EQ(rest.size(), file.size() - cursor.output_offset_bytes);
    EXPECT_TRUE(rest == Bytes(file.end() - std::ssize(rest), file.end()));
  }
  EncoderCursor bad = whole->cursors().front();
  bad.state.pop_back();
  EXPECT_EQ(Make(Kind::kFixed, kMiB)->Restore(bad).error().reason(), "encoder.bad_state");
}

TEST(VhdDynamicEncoder, CannotGoOn) {
  const auto encoder = Make(Kind::kDynamic, kMiB);
  EXPECT_TRUE(encoder->Info().rewrites);
  EXPECT_EQ(encoder->Restore({}).error().reason(), "encoder.no_restart");
}

TEST(VhdDynamicEncoder, LeavesZeroBlocksOut) {
  const PatchDisk disk = MakeDisk(10 * kMiB);
  // Blocks 0, 1, 3 and 4 hold something.
  EXPECT_EQ(Encode(Kind::kDynamic, disk).OffsetBytes(), 2048U + 4 * (2 * kMiB + 512) + 512);
}

}  // namespace
}  // namespace vmferry::image::vhd
