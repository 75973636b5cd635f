// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/qcow2_encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/open.h"
#include "testing/fake_random.h"
#include "testing/memory_output.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::qcow2 {
namespace {

using testing::EncodeAll;
using testing::MemoryOutput;
using testing::RunTool;
using testing::TempDir;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kClusterBytes = 65536;

/// A disk whose clusters are made from their number: what lies in `stored` is there.
class PatternDisk final : public DiskImage {
 public:
  PatternDisk(std::uint64_t size_bytes, std::vector<std::uint64_t> stored)
      : size_bytes_(size_bytes), stored_(std::move(stored)) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }
  const DiskImageInfo& Info() const override { return info_; }
  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    std::fill(out.begin(), out.end(), std::byte{0});
    for (const std::uint64_t cluster : stored_) {
      const std::uint64_t begin = cluster * kClusterBytes;
      const std::uint64_t from = std::max(begin, offset_bytes);
      const std::uint64_t to = std::min(begin + kClusterBytes, offset_bytes + out.size());
      if (from >= to) continue;
      const Bytes bytes = Cluster(cluster);
      std::memcpy(out.data() + (from - offset_bytes), bytes.data() + (from - begin), to - from);
    }
    return {};
  }
  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override {
    std::vector<Extent> extents;
    const std::uint64_t end = offset_bytes + length_bytes;
    std::uint64_t at = offset_bytes;
    for (const std::uint64_t cluster : stored_) {
      const std::uint64_t from = std::max(cluster * kClusterBytes, at);
      const std::uint64_t to = std::min({(cluster + 1) * kClusterBytes, end, size_bytes_});
      if (from >= to) continue;
      if (from > at) extents.push_back({at, from - at, ExtentKind::kHole});
      extents.push_back({from, to - from, ExtentKind::kData});
      at = to;
    }
    if (at < end) extents.push_back({at, end - at, ExtentKind::kHole});
    return extents;
  }

 private:
  /// By turns noise, text, zeros that are stored, and one byte alone.
  static Bytes Cluster(std::uint64_t index) {
    Bytes bytes(kClusterBytes);
    testing::FakeRandom random(index);
    if (index % 4 == 0) random.Fill(bytes);
    for (std::size_t i = 0; index % 4 == 1 && i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::byte>("lorem ipsum dolor"[(i + i / 700 + index) % 17]);
    }
    if (index % 4 == 3) bytes[index % kClusterBytes] = std::byte{1};
    return bytes;
  }

  const std::uint64_t size_bytes_;
  const std::vector<std::uint64_t> stored_;
  const DiskImageInfo info_;
};

MemoryOutput Encode(const DiskImage& disk, bool compressed, std::uint64_t part_bytes) {
  auto encoder =
      compressed ? MakeCompressedEncoder(disk.SizeBytes()) : MakePlainEncoder(disk.SizeBytes());
  EXPECT_TRUE(encoder.has_value());
  auto out = EncodeAll(**encoder, disk, part_bytes);
  EXPECT_TRUE(out.has_value()) << out.error().ToString();
  return *std::move(out);
}

/// Reads the file that was written as a QCOW2 and compares guest bytes and sizes.
void ExpectReadsBack(const DiskImage& disk, const Bytes& file) {
  const auto written = OpenDiskSource(MakeMemorySource(file), "disk.qcow2");
  ASSERT_TRUE(written.has_value()) << written.error().ToString();
  EXPECT_EQ((*written)->SizeBytes(), DivCeil(disk.SizeBytes(), 512) * 512);
  EXPECT_TRUE((*written)->Info().defects.empty());
  // Where the source has holes, so has the copy.
  const auto source = disk.Extents(0, disk.SizeBytes());
  ASSERT_TRUE(source.has_value());
  for (const Extent& extent : *source) {
    const std::uint64_t begin = extent.offset_bytes / kClusterBytes * kClusterBytes;
    const std::uint64_t end = extent.offset_bytes + extent.length_bytes;
    if (extent.kind == ExtentKind::kHole) {
      const auto there = (*written)->Extents(extent.offset_bytes, extent.length_bytes);
      ASSERT_TRUE(there.has_value());
      EXPECT_EQ(there->size(), 1U);
      EXPECT_EQ(there->front().kind, ExtentKind::kHole);
      continue;
    }
    Bytes expected(end - begin);
    Bytes got(end - begin);
    ASSERT_TRUE(disk.Read(begin, expected).has_value());
    const auto read = (*written)->Read(begin, got);
    ASSERT_TRUE(read.has_value()) << read.error().ToString();
    ASSERT_TRUE(expected == got) << "at " << begin;
  }
}

void ExpectQemuIsContent(const MemoryOutput& out) {
  if (!testing::HasTool("qemu-img")) return;
  const TempDir folder;
  out.Save(folder / "disk.qcow2");
  const auto checked = RunTool({"qemu-img", "check", "-f", "qcow2", folder / "disk.qcow2"});
  EXPECT_TRUE(checked.ok()) << checked.output << checked.error_output;
  EXPECT_NE(checked.output.find("No errors were found"), std::string::npos) << checked.output;
}

std::vector<std::uint64_t> Sequence(std::uint64_t first, std::uint64_t count) {
  std::vector<std::uint64_t> clusters(count);
  for (std::uint64_t i = 0; i < count; ++i) clusters[i] = first + i;
  return clusters;
}

struct Case {
  const char* name;
  std::uint64_t size_bytes;
  std::vector<std::uint64_t> stored;
};

std::vector<Case> Cases() {
  return {
      {"no bytes", 0, {}},
      {"one byte", 1, {0}},
      {"one sector", 512, {0}},
      {"odd size", 5 * kClusterBytes + 700, {0, 1, 5}},
      {"nothing stored", 64 * kGiB, {}},
      {"one L2 table", 8192 * kClusterBytes, {0, 1, 8191}},
      {"a byte more than an L2 table", 8192 * kClusterBytes + 1, {8191, 8192}},
      {"a sector less than an L2 table", 8192 * kClusterBytes - 512, {1, 8191}},
      {"an L1 table of a cluster", 8192 * 8192 * kClusterBytes, {0, 8192 * 8192 - 1}},
      {"a sector more", 8192 * 8192 * kClusterBytes + 512, {5, 8192 * 8192}},
      {"many neighbours", 4 * kMiB + 512, Sequence(0, 65)},
  };
}

TEST(Qcow2Encoder, ReadsBackAndQemuImgCheckFindsNothing) {
  for (const Case& tested : Cases()) {
    for (const bool compressed : {false, true}) {
      SCOPED_TRACE(std::string(tested.name) + (compressed ? " compressed" : " plain"));
      const PatternDisk disk(tested.size_bytes, tested.stored);
      const MemoryOutput out =
          Encode(disk, compressed, disk.SizeBytes() > kTiB ? 512 * kMiB : kMiB);
      EXPECT_EQ(out.overwrites(), 1U);
      ExpectReadsBack(disk, out.Bytes());
      ExpectQemuIsContent(out);
    }
  }
}

TEST(Qcow2Encoder, QemuReadsTheSameBytes) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const PatternDisk disk(9 * kMiB + 1536, Sequence(3, 140));
  Bytes guest(disk.SizeBytes());
  ASSERT_TRUE(disk.Read(0, guest).has_value());
  const TempDir folder;
  MemoryOutput raw;
  ASSERT_TRUE(raw.Append(guest).has_value());
  raw.Save(folder / "disk.raw");
  for (const bool compressed : {false, true}) {
    Encode(disk, compressed, kMiB).Save(folder / "disk.qcow2");
    const auto compared = RunTool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2",
                                   folder / "disk.raw", folder / "disk.qcow2"});
    EXPECT_TRUE(compared.ok()) << compared.output << compared.error_output;
    if (!testing::HasTool("qcowinfo")) continue;
    const auto info = RunTool({"qcowinfo", folder / "disk.qcow2"});
    EXPECT_TRUE(info.ok()) << info.output << info.error_output;
  }
}

TEST(Qcow2Encoder, OutputDoesNotDependOnHowTheDiskIsCut) {
  auto stored = Sequence(0, 90);
  for (const std::uint64_t more : Sequence(8192 - 7, 20)) stored.push_back(more);
  const PatternDisk disk(kGiB, stored);
  for (const bool compressed : {false, true}) {
    const Bytes whole = Encode(disk, compressed, 8 * kMiB).Bytes();
    EXPECT_TRUE(whole == Encode(disk, compressed, kClusterBytes).Bytes());
    EXPECT_TRUE(whole == Encode(disk, compressed, 7 * kClusterBytes).Bytes());
  }
}

TEST(Qcow2Encoder, AnUnfinishedFileIsNotTakenForADisk) {
  const PatternDisk disk(kMiB, {0, 1});
  const auto encoder = MakePlainEncoder(disk.SizeBytes());
  ASSERT_TRUE(encoder.has_value());
  MemoryOutput out;
  ASSERT_TRUE((*encoder)->Begin(out).has_value());
  ASSERT_TRUE(out.Append(Bytes(kMiB)).has_value());
  EXPECT_FALSE(OpenDiskSource(MakeMemorySource(out.Bytes()), "disk.qcow2").has_value());
}

TEST(Qcow2Encoder, SaysWhatItDoesToOddSizes) {
  const auto odd = MakePlainEncoder(1000);
  ASSERT_TRUE(odd.has_value());
  EXPECT_EQ((*odd)->Info().virtual_size_bytes, 1024U);
  EXPECT_EQ((*odd)->Info().remarks.size(), 1U);
  const auto even = MakePlainEncoder(1024);
  ASSERT_TRUE(even.has_value());
  EXPECT_TRUE((*even)->Info().remarks.empty());
  EXPECT_EQ(MakePlainEncoder(2049 * kTiB).error().reason(), "qcow2.encoder.too_large");
}

/// Pretends to have written: lets the encoder go through gigabytes of output without them.
class CountingOutput final : public EncoderOutput {
 public:
  std::uint64_t OffsetBytes() const override { return tail_.OffsetBytes(); }
  Result<void> Append(std::span<const std::byte> bytes) override {
    // Data clusters are one byte repeated; tables are not.
    return bytes[0] == std::byte{7} ? tail_.Skip(bytes.size()) : tail_.Append(bytes);
  }
  Result<void> Append(io::Buffer bytes) override { return Append(bytes.bytes()); }
  Result<void> Skip(std::uint64_t length_bytes) override { return tail_.Skip(length_bytes); }
  Result<void> Overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return tail_.Overwrite(offset, bytes);
  }
  bool PieceIsFull() const override { return false; }
  Result<void> EndPiece(EncoderCursor) override { return {}; }
  const MemoryOutput& file() const { return tail_; }

 private:
  MemoryOutput tail_;
};

TEST(Qcow2Encoder, RefcountsOfAFileOfSeveralGigabytesAreExact) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  // 5 GiB of clusters: three refcount blocks, of which two are written on the way.
  constexpr std::uint64_t kParts = 80;
  constexpr std::uint64_t kUnits = 1024;
  const auto encoder = MakePlainEncoder(kParts * kUnits * kClusterBytes);
  ASSERT_TRUE(encoder.has_value());
  CountingOutput out;
  ASSERT_TRUE((*encoder)->Begin(out).has_value());
  for (std::uint64_t i = 0; i < kParts; ++i) {
    EncodedPart part = {.offset_bytes = i * kUnits * kClusterBytes,
                        .length_bytes = kUnits * kClusterBytes};
    part.bytes = io::Buffer(part.length_bytes);
    part.bytes.Resize(part.length_bytes);
    for (std::uint64_t unit = 0; unit < kUnits; ++unit) {
      part.bytes.bytes()[unit * kClusterBytes] = std::byte{7};
      part.units.push_back({.guest_offset_bytes = part.offset_bytes + unit * kClusterBytes,
                            .offset_bytes = static_cast<std::uint32_t>(unit * kClusterBytes),
                            .length_bytes = static_cast<std::uint32_t>(kClusterBytes)});
    }
    ASSERT_TRUE((*encoder)->Place(part, out).has_value());
  }
  ASSERT_TRUE((*encoder)->Finish(out).has_value());
  ExpectQemuIsContent(out.file());
}

}  // namespace
}  // namespace vmferry::image::qcow2
