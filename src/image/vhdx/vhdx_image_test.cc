// SPDX-License-Identifier: Apache-2.0
//
// What no tool at hand writes: all block states, sectors of 4096 bytes, chains, damaged copies.

#include "image/vhdx/vhdx_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/units.h"
#include "image/extent_list.h"
#include "image/extent_walk.h"
#include "image/open.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vhdx_builder.h"

namespace vmferry::image::vhdx {
namespace {

using testing::FakeRandom;
using testing::TempDir;
using testing::VhdxBuilder;
using Bytes = std::vector<std::byte>;

Bytes Noise(FakeRandom& random, std::size_t count) {
  Bytes bytes(count);
  random.Fill(bytes);
  return bytes;
}

Result<std::unique_ptr<DiskImage>> OpenBytes(Bytes bytes) {
  return Open(MakeMemorySource(std::move(bytes)), NoCompanions());
}

Bytes ReadAll(const DiskImage& disk) {
  Bytes bytes(disk.SizeBytes());
  const auto read = disk.Read(0, bytes);
  EXPECT_TRUE(read.has_value()) << read.error().ToString();
  return bytes;
}

std::string ReasonOf(const Result<OpenedDisk>& disk) { return disk ? "" : disk.error().reason(); }

TEST(VhdxImage, EveryBlockState) {
  FakeRandom random(1);
  VhdxBuilder builder;
  builder.size_bytes = 9 * kMiB + 512;  // the last block is short
  const Bytes noise = Noise(random, 2 * kMiB);
  const Bytes first(noise.begin(), noise.begin() + kMiB);
  const Bytes second(noise.begin() + kMiB, noise.end());
  builder.blocks[1].bytes = first;
  builder.blocks[2].bytes = second;  // side by side in the file: one run
  builder.blocks[3].state = VhdxBuilder::kUndefined;
  builder.blocks[4].state = VhdxBuilder::kZero;
  builder.blocks[5].state = VhdxBuilder::kUnmapped;
  builder.blocks[6].state = VhdxBuilder::kAnchored;
  builder.blocks[9].bytes = Bytes(512, std::byte{0x77});
  const auto disk = OpenBytes(builder.Build());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes expected(builder.size_bytes);
  std::copy(noise.begin(), noise.end(), expected.begin() + kMiB);
  std::fill(expected.begin() + 9 * kMiB, expected.end(), std::byte{0x77});
  EXPECT_TRUE(ReadAll(**disk) == expected);
  const std::vector<Extent> extents = {{0, kMiB, ExtentKind::kHole},
                                       {kMiB, 2 * kMiB, ExtentKind::kData},
                                       {3 * kMiB, 4 * kMiB, ExtentKind::kZero},
                                       {7 * kMiB, 2 * kMiB, ExtentKind::kHole},
                                       {9 * kMiB, 512, ExtentKind::kData}};
  EXPECT_EQ((*disk)->Extents(0, builder.size_bytes).value(), extents);
  const DiskImageInfo& info = (*disk)->Info();
  EXPECT_EQ(info.subformat, "dynamic");
  EXPECT_EQ(info.creator, "vmferry tests");
  EXPECT_EQ(info.identity, builder.data_write_guid);
  EXPECT_EQ(info.allocated_size_bytes, 2 * kMiB + 512);
  EXPECT_TRUE(info.defects.empty());
}

TEST(VhdxImage, UnknownOptionalPartsAreReported) {
  VhdxBuilder builder;
  builder.more_items.push_back({"12345678-1111-2222-3333-444444444444", Bytes(8), 0});
  builder.more_items.push_back({"12345678-1111-2222-3333-555555555555", {}, 1});  // a user's
  builder.more_regions.push_back({"87654321-1111-2222-3333-444444444444", 5 * kMiB, 1 << 20, 0});
  builder.blocks[0].state = VhdxBuilder::kZero;
  auto bytes = builder.Build();
  bytes.resize(6 * kMiB);
  const auto disk = OpenBytes(bytes);
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  const auto& details = (*disk)->Info().details;
  const std::pair<std::string, std::string> region = {"unknown region",
                                                      "87654321-1111-2222-3333-444444444444"};
  const std::pair<std::string, std::string> item = {"unknown metadata item",
                                                    "12345678-1111-2222-3333-444444444444"};
  EXPECT_NE(std::find(details.begin(), details.end(), region), details.end());
  EXPECT_NE(std::find(details.begin(), details.end(), item), details.end());
}

TEST(VhdxImage, TheHeaderWithTheHigherNumberCounts) {
  VhdxBuilder builder;
  for (const bool first_is_newer : {false, true}) {
    builder.header_sequences = {first_is_newer ? 9U : 7U, 8U};
    Bytes bytes = builder.Build();
    const std::uint64_t newer = first_is_newer ? testing::kVhdxHeader1 : testing::kVhdxHeader2;
    bytes[newer + 32] ^= std::byte{0xff};  // its data write GUID
    testing::SumVhdx(bytes, newer, 4096);
    const auto disk = OpenBytes(std::move(bytes));
    ASSERT_TRUE(disk.has_value());
    EXPECT_NE((*disk)->Info().identity, builder.data_write_guid);
  }
}

TEST(VhdxImage, OneDamagedCopyIsADefect) {
  const VhdxBuilder builder;
  const Bytes good = builder.Build();
  for (const std::uint64_t at : {testing::kVhdxHeader1, testing::kVhdxHeader2,
                                 testing::kVhdxRegions1, testing::kVhdxRegions2}) {
    Bytes bad = good;
    bad[at + 100] ^= std::byte{1};
    const auto disk = OpenBytes(std::move(bad));
    ASSERT_TRUE(disk.has_value()) << at;
    EXPECT_EQ((*disk)->Info().defects.size(), 1U) << at;
  }
}

/// A chain of three disks: what each holds is random, and known.
class VhdxChain : public ::testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    const std::uint32_t sector_bytes = GetParam();
    FakeRandom random(sector_bytes);
    expected_.resize(kSize);
    std::string parent_guid;
    for (int level = 0; level < 3; ++level) {
      VhdxBuilder builder;
      builder.size_bytes = kSize;
      builder.logical_sector_bytes = sector_bytes;
      builder.data_write_guid = "0000000" + std::to_string(level) + "-2222-3333-4444-5555aaaa5555";
      if (level > 0) {
        builder.parameter_flags = 2;
        builder.locator = {{"parent_linkage", "{" + parent_guid + "}"},
                           {"relative_path", ".\\" + NameOf(level - 1)}};
      }
      FillBlocks(builder, random, level > 0);
      parent_guid = builder.data_write_guid;
      ASSERT_TRUE(builder.BuildSparse().Write(folder_ / NameOf(level)));
    }
  }

  static std::string NameOf(int level) { return "disk" + std::to_string(level) + ".avhdx"; }

  void FillBlocks(VhdxBuilder& builder, FakeRandom& random, bool may_be_partial) {
    for (std::uint64_t index = 0; index < kSize / kMiB; ++index) {
      const std::uint64_t kind = random.Below(may_be_partial ? 5 : 3);
      if (kind == 0) continue;  // not present
      VhdxBuilder::Block& block = builder.blocks[index];
      if (kind == 1) {
        block.state = VhdxBuilder::kZero;
        if (may_be_partial) zero_in_child_.insert(index);
        Overlay(index * kMiB, Bytes(kMiB));
        continue;
      }
      block.bytes = Noise(random, kMiB);
      if (kind == 2) {
        Overlay(index * kMiB, block.bytes);
        continue;
      }
      block.state = VhdxBuilder::kPartial;
      const std::uint64_t sector_bytes = builder.logical_sector_bytes;
      for (std::uint64_t sector = 0; sector < kMiB / sector_bytes; ++sector) {
        if (random.Below(16) < 8 * (sector / 32 % 2) + 1) continue;
        block.sectors.push_back(sector);
        const auto from = block.bytes.begin() + static_cast<std::ptrdiff_t>(sector * sector_bytes);
        Overlay(index * kMiB + sector * sector_bytes,
                Bytes(from, from + static_cast<std::ptrdiff_t>(sector_bytes)));
      }
    }
  }

  void Overlay(std::uint64_t offset, const Bytes& bytes) {
    std::copy(bytes.begin(), bytes.end(), expected_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

  static constexpr std::uint64_t kSize = 10 * kMiB;
  const TempDir folder_;
  Bytes expected_;
  std::set<std::uint64_t> zero_in_child_;  ///< blocks
};

TEST_P(VhdxChain, ReadsWhatTheDisksSayProperty) {
  const auto disk = OpenDisk(folder_ / NameOf(2));
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  const DiskImageInfo& info = disk->image->Info();
  EXPECT_EQ(info.subformat, "differencing");
  ASSERT_EQ(info.chain.size(), 2U);
  EXPECT_EQ(info.chain[1].subformat, "dynamic");
  ASSERT_TRUE(ReadAll(*disk->image) == expected_);

  FakeRandom random(3);
  for (int i = 0; i < 50; ++i) {
    const std::uint64_t offset = random.Below(kSize);
    Bytes part(1 + random.Below(std::min<std::uint64_t>(kSize - offset, 300000)));
    ASSERT_TRUE(disk->image->Read(offset, part).has_value());
    ASSERT_TRUE(std::equal(part.begin(), part.end(),
                           expected_.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
  std::uint64_t at = 0;
  const auto extents = disk->image->Extents(0, kSize);
  ASSERT_TRUE(extents.has_value());
  for (const Extent& extent : *extents) {
    ASSERT_EQ(extent.offset_bytes, at);
    at += extent.length_bytes;
    if (extent.kind == ExtentKind::kData) continue;
    const auto from = expected_.begin() + static_cast<std::ptrdiff_t>(extent.offset_bytes);
    ASSERT_TRUE(std::all_of(from, from + static_cast<std::ptrdiff_t>(extent.length_bytes),
                            [](std::byte byte) { return byte == std::byte{0}; }));
  }
  EXPECT_EQ(at, kSize);
}

TEST_P(VhdxChain, LibvhdiReadsTheSame) {
  VMFERRY_NEEDS_TOOL("python3");
  // Debian's own: the bindings come as a Debian package.
  if (!testing::RunTool({"/usr/bin/python3", "-c", "import pyvhdi"}).ok()) {
    GTEST_SKIP() << "needs python3-libvhdi";
  }
  const std::string script =
      "import pyvhdi, sys\n"
      "files = [pyvhdi.file() for name in sys.argv[2:]]\n"
      "for file, name in zip(files, sys.argv[2:]): file.open(name)\n"
      "for child, parent in zip(files[1:], files): child.set_parent(parent)\n"
      "top = files[-1]\n"
      "open(sys.argv[1], 'wb').write(top.read_buffer_at_offset(top.get_media_size(), 0))\n";
  const auto done =
      testing::RunTool({"/usr/bin/python3", "-c", script, folder_ / "out.raw", folder_ / NameOf(0),
                        folder_ / NameOf(1), folder_ / NameOf(2)});
  ASSERT_TRUE(done.ok()) << done.error_output;
  const auto theirs = OpenDisk(folder_ / "out.raw");
  ASSERT_TRUE(theirs.has_value());
  const Bytes bytes = ReadAll(*theirs->image);
  ASSERT_EQ(bytes.size(), expected_.size());
  for (std::uint64_t index = 0; index < kSize / kMiB; ++index) {
    // libvhdi 20210425 asks the parent for the zero blocks of a child; [MS-VHDX] 2.5.1.1 does not.
    if (zero_in_child_.count(index) > 0) continue;
    const auto from = static_cast<std::ptrdiff_t>(index * kMiB);
    const auto to = from + static_cast<std::ptrdiff_t>(kMiB);
    EXPECT_TRUE(std::equal(bytes.begin() + from, bytes.begin() + to, expected_.begin() + from))
        << "block " << index;
  }
}

INSTANTIATE_TEST_SUITE_P(SectorSizes, VhdxChain, ::testing::Values(512U, 4096U));

struct Pair {
  VhdxBuilder parent;
  VhdxBuilder child;

  Pair() {
    parent.blocks[0].bytes = Bytes(kMiB, std::byte{1});
    child.parameter_flags = 2;
    child.locator = {{"parent_linkage", "{" + parent.data_write_guid + "}"},
                     {"relative_path", ".\\parent.vhdx"}};
  }
  Result<OpenedDisk> OpenIn(const TempDir& folder) const {
    EXPECT_TRUE(parent.BuildSparse().Write(folder / "parent.vhdx"));
    EXPECT_TRUE(child.BuildSparse().Write(folder / "child.avhdx"));
    return OpenDisk(folder / "child.avhdx");
  }
};

TEST(VhdxParent, IsFoundBesideTheDiskWhateverWindowsCalledItsFolder) {
  const TempDir folder;
  Pair pair;
  pair.child.locator[1] = {"absolute_win32_path", "\\\\?\\D:\\VMs\\Old place\\parent.vhdx"};
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "");
  pair.child.locator[1] = {"volume_path",
                           "\\\\?\\Volume{26A21BDA-A627-11D7-9931-806E6F6E6963}\\x\\parent.vhdx"};
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "");
}

TEST(VhdxParent, OfAnotherContentIsRefused) {
  const TempDir folder;
  Pair pair;
  pair.parent.data_write_guid = "11111111-2222-3333-4444-555555555556";
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "image.chain.parent_mismatch");
  pair.child.locator.emplace_back("parent_linkage2", "{11111111-2222-3333-4444-555555555556}");
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "");
}

TEST(VhdxParent, MayBeSmallerOrMissing) {
  const TempDir folder;
  Pair pair;
  pair.child.size_bytes = 6 * kMiB;
  const auto disk = pair.OpenIn(folder);
  ASSERT_TRUE(disk.has_value());
  Bytes expected(6 * kMiB);
  std::fill(expected.begin(), expected.begin() + kMiB, std::byte{1});
  EXPECT_TRUE(ReadAll(*disk->image) == expected);
  pair.child.locator[1].second = ".\\gone.vhdx";
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "image.chain.missing");
  pair.child.locator.pop_back();
  EXPECT_EQ(ReasonOf(pair.OpenIn(folder)), "image.chain.missing");
}

TEST(VhdxImage, LargestDiskHasFewExtentsAndIsListedAtOnce) {
  const TempDir folder;
  VhdxBuilder builder;
  builder.size_bytes = 64 * kTiB;
  for (std::uint64_t block = 0; block < 64; ++block) builder.blocks[block * 1000003].bytes = {};
  builder.blocks[(64 << 20) - 1].bytes = Bytes(kMiB, std::byte{9});
  ASSERT_TRUE(builder.BuildSparse().Write(folder / "disk.vhdx"));
  const auto disk = OpenDisk(folder / "disk.vhdx");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ(disk->image->SizeBytes(), 64 * kTiB);
  EXPECT_EQ(disk->image->Info().allocated_size_bytes, 65 * kMiB);
  ExtentWalk walk(*disk->image);
  // Blocks that the file system has not stored are present, and zero.
  std::uint64_t present_bytes = 0;
  for (auto next = walk.Next(); next && *next; next = walk.Next()) {
    if ((*next)->kind != ExtentKind::kHole) present_bytes += (*next)->length_bytes;
  }
  EXPECT_EQ(present_bytes, 65 * kMiB);
  Bytes last(10);
  ASSERT_TRUE(disk->image->Read(64 * kTiB - 10, last).has_value());
  EXPECT_EQ(last, Bytes(10, std::byte{9}));
}

}  // namespace
}  // namespace vmferry::image::vhdx
