// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "base/byte_reader.h"
#include "image/companions.h"
#include "image/extent_list.h"
#include "image/open.h"
#include "image/vmdk/vmdk_image.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vmdk_builder.h"
#include "text/json.h"

namespace vmferry::image::vmdk {
namespace {

using testing::FakeRandom;
using testing::RunTool;
using testing::VmdkBuilder;
using Bytes = std::vector<std::byte>;

Bytes RandomBytes(FakeRandom& random, std::size_t size) {
  Bytes bytes(size);
  random.Fill(bytes);
  // Half of it repeats, so that deflate has something to do.
  for (std::size_t i = size / 2; i < size; ++i) bytes[i] = bytes[i % 64];
  return bytes;
}

struct Sample {
  VmdkBuilder builder;
  Bytes guest;
  std::vector<Extent> extents;
};

/// A disk of holes, data and zero grains in runs of random length.
Sample MakeSample(std::uint64_t seed, VmdkBuilder::Layout layout, std::uint64_t capacity_sectors,
                  std::uint64_t grain_sectors) {
  FakeRandom random(seed);
  Sample sample;
  sample.builder.layout = layout;
  sample.builder.flags |= 4;
  sample.builder.capacity_sectors = capacity_sectors;
  sample.builder.grain_sectors = grain_sectors;
  sample.guest.resize(capacity_sectors * 512);
  const std::uint64_t grain_bytes = grain_sectors * 512;
  for (std::uint64_t offset = 0, grain = 0; offset < sample.guest.size();) {
    const auto kind = static_cast<ExtentKind>(random.Below(3));
    const std::uint64_t begin = offset;
    for (std::uint64_t left = 1 + random.Below(9); left > 0 && offset < sample.guest.size();
         --left, ++grain) {
      const std::uint64_t length = std::min(grain_bytes, sample.guest.size() - offset);
      if (kind == ExtentKind::kZero) sample.builder.zero_grains.insert(grain);
      if (kind == ExtentKind::kData) {
        Bytes data = RandomBytes(random, length);
        std::copy(data.begin(), data.end(),
                  sample.guest.begin() + static_cast<std::ptrdiff_t>(offset));
        if (random.Below(2) == 0) data.resize(grain_bytes);  // both ways for the last grain
        sample.builder.grains[grain] = std::move(data);
      }
      offset += length;
    }
    if (!sample.extents.empty() && sample.extents.back().kind == kind) {
      sample.extents.back().length_bytes += offset - begin;
    } else {
      sample.extents.push_back({begin, offset - begin, kind});
    }
  }
  return sample;
}

std::unique_ptr<DiskImage> OpenOrDie(Bytes bytes) {
  auto disk = Open(MakeMemorySource(std::move(bytes)), NoCompanions());
  EXPECT_TRUE(disk.has_value()) << disk.error().ToString();
  return disk ? std::move(*disk) : nullptr;
}

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes(), std::byte{0xee});
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

class BothLayouts : public ::testing::TestWithParam<VmdkBuilder::Layout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, BothLayouts,
                         ::testing::Values(VmdkBuilder::Layout::kDirectoryFirst,
                                           VmdkBuilder::Layout::kFooter),
                         [](const auto& tested) {
                           return tested.param == VmdkBuilder::Layout::kFooter ? "Footer"
                                                                               : "DirectoryFirst";
                         });

TEST_P(BothLayouts, ReadsWhatTheBuilderWrote) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    // Over two grain tables, the last grain cut short.
    const Sample sample = MakeSample(seed, GetParam(), 8 * 700 + 3, 8);
    const auto disk = OpenOrDie(sample.builder.Build());
    ASSERT_NE(disk, nullptr);
    EXPECT_EQ(disk->SizeBytes(), sample.guest.size());
    EXPECT_TRUE(ReadAll(*disk) == sample.guest);
    const auto extents = disk->Extents(0, disk->SizeBytes());
    ASSERT_TRUE(extents.has_value());
    EXPECT_EQ(*extents, sample.extents);
  }
}

TEST_P(BothLayouts, SplitReadsAreOneReadProperty) {
  const std::uint64_t seed = 77;
  SCOPED_TRACE(seed);
  FakeRandom random(seed);
  const Sample sample = MakeSample(seed, GetParam(), 16 * 600, 16);
  const auto disk = OpenOrDie(sample.builder.Build());
  ASSERT_NE(disk, nullptr);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random.Below(disk->SizeBytes());
    const std::uint64_t length =
        random.Below(std::min<std::uint64_t>(disk->SizeBytes() - offset, 100'000) + 1);
    Bytes part(length, std::byte{0xee});
    ASSERT_TRUE(disk->Read(offset, part).has_value());
    ASSERT_EQ(std::memcmp(part.data(), sample.guest.data() + offset, length), 0)
        << offset << " " << length;
    const auto extents = disk->Extents(offset, length);
    ASSERT_TRUE(extents.has_value());
    std::uint64_t at = offset;
    for (std::size_t k = 0; k < extents->size(); ++k) {
      const Extent& extent = (*extents)[k];
      ASSERT_EQ(extent.offset_bytes, at);
      ASSERT_GT(extent.length_bytes, 0U);
      ASSERT_TRUE(k == 0 || extent.kind != (*extents)[k - 1].kind);
      at += extent.length_bytes;
    }
    ASSERT_EQ(at, offset + length);
  }
}

TEST(StreamOptimized, RefusesToReadPastTheEnd) {
  const auto disk = OpenOrDie(VmdkBuilder{}.Build());
  ASSERT_NE(disk, nullptr);
  Bytes two(2);
  const auto read = disk->Read(disk->SizeBytes() - 1, two);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().reason(), "image.read_past_end");
  EXPECT_FALSE(disk->Extents(disk->SizeBytes(), 1).has_value());
  EXPECT_TRUE(disk->Extents(disk->SizeBytes(), 0).has_value());
}

TEST(StreamOptimized, TellsWhatItIs) {
  VmdkBuilder builder;
  builder.grains[3] = Bytes(8192, std::byte{1});
  const auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  const DiskImageInfo& info = disk->Info();
  EXPECT_EQ(info.format, "vmdk");
  EXPECT_EQ(info.subformat, "streamOptimized");
  EXPECT_EQ(info.wire_format, "VMDK");
  EXPECT_EQ(info.virtual_size_bytes, 4096U * 512);
  EXPECT_EQ(info.allocated_size_bytes, 8192U);
  EXPECT_TRUE(info.defects.empty());
}

TEST(StreamOptimized, ManyThreadsReadThroughOneCacheOfTables) {
  // More tables than the cache has places, one grain in each.
  constexpr std::uint64_t kTables = 300;
  VmdkBuilder builder;
  builder.grain_sectors = 8;
  builder.capacity_sectors = kTables * 512 * 8;
  for (std::uint64_t table = 0; table < kTables; ++table) {
    builder.grains[table * 512] = Bytes(4096, static_cast<std::byte>(table % 251 + 1));
  }
  const auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    threads.emplace_back([&, seed] {
      FakeRandom random(seed);
      Bytes grain(4096);
      for (int i = 0; i < 500; ++i) {
        const std::uint64_t table = random.Below(kTables);
        const bool read = disk->Read(table * 512 * 4096, grain).has_value();
        if (!read || grain[random.Below(4096)] != static_cast<std::byte>(table % 251 + 1)) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(StreamOptimized, HolesAreWhatQemuImgMapsAsAbsent) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  testing::TempDir folder;
  const Sample sample = MakeSample(11, VmdkBuilder::Layout::kDirectoryFirst, 16 * 600, 16);
  const auto vmdk = folder / "disk.vmdk";
  ASSERT_TRUE(sys::WriteWholeFile(vmdk, AsText(sample.builder.Build())).has_value());
  const auto mapped = RunTool({"qemu-img", "map", "-f", "vmdk", "--output=json", vmdk});
  ASSERT_TRUE(mapped.ok()) << mapped.error_output;
  const auto json = text::Json::Parse(mapped.output);
  ASSERT_TRUE(json.has_value());
  std::vector<Extent> expected;
  for (const text::Json& run : json->Items()) {
    ExtentKind kind = ExtentKind::kData;
    if (!run["data"].AsBool())
      kind = run["present"].AsBool() ? ExtentKind::kZero : ExtentKind::kHole;
    AppendExtent(expected, {run["start"].AsUint(), run["length"].AsUint(), kind});
  }
  const auto disk = OpenDisk(vmdk);
  ASSERT_TRUE(disk.has_value());
  const auto extents = disk->image->Extents(0, disk->image->SizeBytes());
  ASSERT_TRUE(extents.has_value());
  EXPECT_EQ(*extents, expected);
}

TEST(StreamOptimized, ReadsWhatQemuImgWrites) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  testing::TempDir folder;
  FakeRandom random(5);
  // Not a whole number of grains, larger than one grain table.
  Bytes guest((std::size_t{33} << 20) + 1536);
  for (const std::size_t offset : {0UL, 700'000UL, 5UL << 20, 32UL << 20, guest.size() - 1000}) {
    const Bytes data = RandomBytes(random, std::min<std::size_t>(300'000, guest.size() - offset));
    std::copy(data.begin(), data.end(), guest.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  const auto raw = folder / "disk.raw";
  const auto vmdk = folder / "disk.vmdk";
  ASSERT_TRUE(sys::WriteWholeFile(raw, AsText(guest)).has_value());
  const auto converted = RunTool({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                                  "subformat=streamOptimized", raw, vmdk});
  ASSERT_TRUE(converted.ok()) << converted.error_output;
  const auto disk = OpenDisk(vmdk);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->SizeBytes(), guest.size());
  EXPECT_TRUE(ReadAll(*disk->image) == guest);
}

TEST(StreamOptimized, QemuImgReadsTheBuildersDisksAlike) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  testing::TempDir folder;
  for (const auto layout : {VmdkBuilder::Layout::kFooter, VmdkBuilder::Layout::kDirectoryFirst}) {
    const Sample sample = MakeSample(9, layout, 16 * 600, 16);
    const auto vmdk = folder / "disk.vmdk";
    const auto raw = folder / "disk.raw";
    ASSERT_TRUE(sys::WriteWholeFile(vmdk, AsText(sample.builder.Build())).has_value());
    ASSERT_TRUE(sys::WriteWholeFile(raw, AsText(sample.guest)).has_value());
    const auto compared = RunTool({"qemu-img", "compare", "-f", "vmdk", "-F", "raw", vmdk, raw});
    EXPECT_TRUE(compared.ok()) << compared.output << compared.error_output;
  }
}

}  // namespace
}  // namespace vmferry::image::vmdk
