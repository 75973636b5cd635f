// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/vhd_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/extent_list.h"
#include "image/open.h"
#include "image/vhd/parent_locator.h"
#include "image/vhd/sector_bitmap.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vhd_builder.h"

namespace vmferry::image::vhd {
namespace {

using testing::FakeRandom;
using testing::RunTool;
using testing::TempDir;
using testing::VhdBuilder;
using Bytes = std::vector<std::byte>;

Bytes RandomBytes(FakeRandom& random, std::size_t size) {
  Bytes bytes(size);
  random.Fill(bytes);
  return bytes;
}

void Save(const std::filesystem::path& path, const Bytes& bytes) {
  ASSERT_TRUE(sys::WriteWholeFile(path, AsText(bytes)).has_value());
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

bool HasDefect(const DiskImage& disk, std::string_view part) {
  const auto& defects = disk.Info().defects;
  return std::any_of(defects.begin(), defects.end(), [&](const std::string& defect) {
    return defect.find(part) != std::string::npos;
  });
}

std::string Detail(const DiskImage& disk, std::string_view key) {
  for (const auto& [name, value] : disk.Info().details) {
    if (name == key) return value;
  }
  return "";
}

/// A disk of random blocks: what was built, and what the guest must see.
struct Sample {
  VhdBuilder builder;
  Bytes guest;
  std::vector<Extent> extents;
};

Sample MakeSample(std::uint64_t seed, std::uint64_t size_bytes, std::uint32_t block_bytes) {
  FakeRandom random(seed);
  Sample sample;
  sample.builder.size_bytes = size_bytes;
  sample.builder.block_bytes = block_bytes;
  sample.guest.resize(size_bytes);
  for (std::uint64_t block = 0; block * block_bytes < size_bytes; ++block) {
    const std::uint64_t offset = block * block_bytes;
    const std::uint64_t length = std::min<std::uint64_t>(block_bytes, size_bytes - offset);
    const bool data = random.Below(2) == 0;
    if (data) {
      Bytes bytes = RandomBytes(random, block_bytes);
      std::copy_n(bytes.begin(), length,
                  sample.guest.begin() + static_cast<std::ptrdiff_t>(offset));
      sample.builder.blocks[block] = std::move(bytes);
    }
    AppendExtent(sample.extents, {offset, length, data ? ExtentKind::kData : ExtentKind::kHole});
  }
  return sample;
}

TEST(VhdImage, ReadsDynamicDisksOfAllBlockSizes) {
  for (const std::uint32_t block_bytes : {4096U, 8192U, 65536U, 524288U}) {
    SCOPED_TRACE(block_bytes);
    const Sample sample = MakeSample(block_bytes, 7 * block_bytes + 1024, block_bytes);
    const auto disk = OpenOrDie(sample.builder.Build());
    ASSERT_NE(disk, nullptr);
    EXPECT_EQ(disk->SizeBytes(), sample.guest.size());
    EXPECT_TRUE(ReadAll(*disk) == sample.guest);
    EXPECT_EQ(*disk->Extents(0, disk->SizeBytes()), sample.extents);
    EXPECT_EQ(disk->Info().subformat, "dynamic");
    EXPECT_EQ(disk->Info().wire_format, "VHD");
    EXPECT_EQ(disk->Info().identity, "0102030405060708090a0b0c0d0e0f10");
    EXPECT_TRUE(disk->Info().defects.empty());
  }
}

TEST(VhdImage, SplitReadsAreOneReadProperty) {
  const std::uint64_t seed = 5;
  SCOPED_TRACE(seed);
  FakeRandom random(seed);
  const Sample sample = MakeSample(seed, 60 * 4096 + 512, 4096);
  const auto disk = OpenOrDie(sample.builder.Build());
  ASSERT_NE(disk, nullptr);
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t offset = random.Below(disk->SizeBytes());
    Bytes part(random.Below(std::min<std::uint64_t>(disk->SizeBytes() - offset, 20'000) + 1));
    ASSERT_TRUE(disk->Read(offset, part).has_value());
    ASSERT_EQ(std::memcmp(part.data(), sample.guest.data() + offset, part.size()), 0);
    std::uint64_t at = offset;
    const auto extents = disk->Extents(offset, part.size());
    ASSERT_TRUE(extents.has_value());
    for (const Extent& extent : *extents) {
      ASSERT_EQ(extent.offset_bytes, at);
      at += extent.length_bytes;
    }
    ASSERT_EQ(at, offset + part.size());
  }
}

TEST(VhdImage, ReadsFixedDisksWithHoles) {
  const TempDir dir;
  VhdBuilder builder;
  builder.kind = VhdBuilder::Kind::kFixed;
  builder.size_bytes = 1 << 20;
  FakeRandom random(3);
  builder.fixed = RandomBytes(random, 65536);
  Bytes file = builder.Build();
  const auto path = dir / "a.vhd";
  Save(path, builder.fixed);
  std::filesystem::resize_file(path, 1 << 20);
  const auto append = sys::File::Open(path, sys::File::Mode::kAppend);
  ASSERT_TRUE(append->Append(std::span(file).last(512)).has_value());
  const auto disk = OpenDisk(path.string(), {});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  file.resize(1 << 20);
  EXPECT_TRUE(ReadAll(*disk->image) == file);
  EXPECT_EQ(disk->image->Info().subformat, "fixed");
  EXPECT_EQ(disk->image->Info().wire_format, "VHD");
  const auto extents = *disk->image->Extents(0, 1 << 20);
  EXPECT_EQ(extents.front(), (Extent{0, 65536, ExtentKind::kData}));
  EXPECT_EQ(extents[1].kind, ExtentKind::kHole);
}

TEST(VhdImage, ReadsOldFootersOf511Bytes) {
  FakeRandom random(4);
  VhdBuilder builder;
  builder.kind = VhdBuilder::Kind::kFixed;
  builder.size_bytes = 120 * 4 * 17 * 512;
  builder.creator = "vpc ";
  builder.footer_bytes = 511;
  builder.fixed = RandomBytes(random, 4096);
  const Bytes file = builder.Build();
  const auto disk = OpenDiskSource(MakeMemorySource(file), "a.vhd");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_EQ((*disk)->SizeBytes(), builder.size_bytes);
  EXPECT_EQ((*disk)->Info().wire_format, "");
  Bytes guest(4096);
  ASSERT_TRUE((*disk)->Read(0, guest).has_value());
  EXPECT_TRUE(guest == builder.fixed);

  Sample sample = MakeSample(4, 16 * 4096, 4096);
  sample.builder.footer_bytes = 511;
  const auto dynamic = OpenOrDie(sample.builder.Build());
  ASSERT_NE(dynamic, nullptr);
  EXPECT_TRUE(ReadAll(*dynamic) == sample.guest);
}

TEST(VhdImage, UsesTheFrontCopyWhenTheFooterIsDamaged) {
  const Sample sample = MakeSample(6, 16 * 4096, 4096);
  Bytes damaged = sample.builder.Build();
  damaged[sample.builder.places.footer + 70] ^= std::byte{1};
  auto disk = OpenOrDie(damaged);
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(ReadAll(*disk) == sample.guest);
  EXPECT_TRUE(HasDefect(*disk, "footer at the end is damaged"));
  EXPECT_EQ(disk->Info().wire_format, "");

  Bytes cut = sample.builder.Build();
  cut.resize(sample.builder.places.footer);
  disk = OpenOrDie(cut);
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(ReadAll(*disk) == sample.guest);
  EXPECT_TRUE(HasDefect(*disk, "footer at the end is missing"));
}

TEST(VhdImage, UsesTheFooterWhenTheFrontCopyIsDamagedOrDiffers) {
  const Sample sample = MakeSample(7, 16 * 4096, 4096);
  Bytes damaged = sample.builder.Build();
  damaged[70] ^= std::byte{1};
  auto disk = OpenOrDie(damaged);
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(HasDefect(*disk, "copy of the footer at the front is damaged"));
  testing::SumVhdFooter(damaged, 0);
  disk = OpenOrDie(damaged);
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(HasDefect(*disk, "not identical"));
  EXPECT_EQ(disk->Info().wire_format, "");
  damaged[0] = std::byte{'x'};
  disk = OpenOrDie(damaged);
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(HasDefect(*disk, "copy of the footer at the front is missing"));
  EXPECT_TRUE(ReadAll(*disk) == sample.guest);
}

TEST(VhdImage, ReportsWhatItIsMarkedAs) {
  VhdBuilder builder;
  builder.kind = VhdBuilder::Kind::kFixed;
  builder.saved_state = 1;
  builder.features = 3;
  builder.created_seconds = 86400;
  const auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  EXPECT_TRUE(HasDefect(*disk, "saved state"));
  EXPECT_TRUE(HasDefect(*disk, "temporary"));
  EXPECT_EQ(Detail(*disk, "created"), "2000-01-02T00:00:00Z");
  EXPECT_EQ(Detail(*disk, "first sector"), "all zeros");
  EXPECT_EQ(disk->Info().creator, "Microsoft Hyper-V 10.3");
}

TEST(VhdImage, ReportsAGeometryThatContradictsTheSize) {
  VhdBuilder builder;
  builder.creator = "vbox";
  builder.blocks[0] = Bytes(builder.block_bytes, std::byte{1});
  const auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->SizeBytes(), 120U * 4 * 17 * 512);
  EXPECT_TRUE(HasDefect(*disk, "by its geometry"));
}

TEST(VhdImage, ReadsNoDiskAtAll) {
  VhdBuilder builder;
  builder.size_bytes = 0;
  auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->SizeBytes(), 0U);
  builder.kind = VhdBuilder::Kind::kFixed;
  disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->SizeBytes(), 0U);
}

// QEMU does not look at the bitmap of a disk without parent, and what it converts is what counts.
TEST(VhdImage, DoesNotLookAtBitmapsWithoutAParent) {
  VhdBuilder builder;
  builder.size_bytes = 16 * 4096;
  builder.block_bytes = 4096;
  builder.blocks[3] = Bytes(4096, std::byte{0x41});
  builder.bitmaps[3] = Bytes(512);
  const auto disk = OpenOrDie(builder.Build());
  ASSERT_NE(disk, nullptr);
  Bytes block(4096);
  ASSERT_TRUE(disk->Read(3 * 4096, block).has_value());
  EXPECT_TRUE(block == builder.blocks[3]);
  if (!testing::HasTool("qemu-io")) return;
  const TempDir dir;
  Save(dir / "a.vhd", builder.Build());
  const auto read = RunTool(
      {"qemu-io", "-r", "-f", "vpc", "-c", "read -P 0x41 12k 4k", (dir / "a.vhd").string()});
  EXPECT_TRUE(read.ok() && read.output.find("failed") == std::string::npos) << read.output;
}

TEST(VhdSectorBitmap, FindsRuns) {
  const Bytes bitmap = {std::byte{0x0f}, std::byte{0xff}, std::byte{0x80}, std::byte{0}};
  const auto run = [&](std::uint64_t from, std::uint64_t end) {
    const SectorRun found = RunOfSectors(bitmap, from, end);
    return std::pair(found.count, found.here);
  };
  EXPECT_EQ(run(0, 32), std::pair(std::uint64_t{4}, false));
  EXPECT_EQ(run(4, 32), std::pair(std::uint64_t{13}, true));
  EXPECT_EQ(run(4, 9), std::pair(std::uint64_t{5}, true));
  EXPECT_EQ(run(17, 32), std::pair(std::uint64_t{15}, false));
  EXPECT_EQ(run(17, 27), std::pair(std::uint64_t{10}, false));
}

TEST(VhdParentLocator, ReadsUtf16) {
  const Bytes little = testing::PlainBytes(std::string("a\0\xe9\0\xac\x20\x3d\xd8\x00\xde", 10));
  EXPECT_EQ(FromUtf16(little, ByteOrder::kLittle), "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(FromUtf16(testing::PlainBytes(std::string("\0b\0\0\0c", 6)), ByteOrder::kBig), "b");
  const Bytes astray = testing::PlainBytes(std::string("\x00\xdc\x41\x00", 4));
  EXPECT_EQ(FromUtf16(astray, ByteOrder::kLittle), std::nullopt);
  const Bytes half = testing::PlainBytes(std::string("\x00\xd8", 2));
  EXPECT_EQ(FromUtf16(half, ByteOrder::kLittle), std::nullopt);
}

TEST(VhdParentLocator, ReadsFileUrls) {
  EXPECT_EQ(PathOfFileUrl("file://./a%20b.vhd"), "./a b.vhd");
  EXPECT_EQ(PathOfFileUrl("file:///vms/a.vhd"), "/vms/a.vhd");
  EXPECT_EQ(PathOfFileUrl("file://localhost/vms/a.vhd"), "/vms/a.vhd");
  EXPECT_EQ(PathOfFileUrl("a.vhd"), "a.vhd");
  EXPECT_EQ(PathOfFileUrl("file:///a%2"), std::nullopt);
  EXPECT_EQ(PathOfFileUrl("file:///a%zz"), std::nullopt);
}

/// A parent and a difference to it, in a folder.
class Differencing : public ::testing::Test {
 protected:
  void SetUp() override {
    parent_ = MakeSample(11, 40 * 4096, 4096);
    Save(dir_ / "parent.vhd", parent_.builder.Build());
    child_ = MakeSample(12, 40 * 4096, 4096);
    child_.builder.kind = VhdBuilder::Kind::kDifferencing;
    child_.builder.unique_id = {9, 9, 9};
    child_.builder.parent_id = parent_.builder.unique_id;
    child_.guest = parent_.guest;
    FakeRandom random(13);
    for (const auto& [block, data] : child_.builder.blocks) {
      const std::size_t begin = block * 4096;
      Bytes bitmap(512);
      for (std::size_t sector = 0; sector < 8; ++sector) {
        if (random.Below(2) == 0) continue;
        bitmap[0] |= std::byte{0x80} >> sector;
        std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(512 * sector), 512,
                    child_.guest.begin() + static_cast<std::ptrdiff_t>(begin + 512 * sector));
      }
      child_.builder.bitmaps[block] = bitmap;
    }
  }

  Result<OpenedDisk> OpenChild() {
    Save(dir_ / "child.vhd", child_.builder.Build());
    return OpenDisk((dir_ / "child.vhd").string(), {});
  }

  void ExpectRead() {
    const auto disk = OpenChild();
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    EXPECT_TRUE(ReadAll(*disk->image) == child_.guest);
    ASSERT_EQ(disk->image->Info().chain.size(), 1U);
    EXPECT_EQ(disk->image->Info().chain[0].format, "vhd");
    EXPECT_EQ(disk->image->Info().wire_format, "");
  }

  std::string Refusal() {
    const auto disk = OpenChild();
    return disk ? "" : disk.error().reason();
  }

  const TempDir dir_;
  Sample parent_;
  Sample child_;
};

TEST_F(Differencing, IsReadThroughEachKindOfName) {
  using testing::PlainBytes;
  using testing::Utf16Le;
  child_.builder.parent_name = "parent.vhd";
  ExpectRead();
  child_.builder.parent_name = "C:\\vms\\parent.vhd";  // looked for beside the child
  ExpectRead();
  child_.builder.parent_name = "";
  for (const VhdBuilder::Locator& locator :
       {VhdBuilder::Locator{"W2ru", Utf16Le(".\\parent.vhd")},
        VhdBuilder::Locator{"W2ku", Utf16Le("D:\\disks\\parent.vhd")},
        VhdBuilder::Locator{"Wi2r", PlainBytes(".\\parent.vhd")},
        VhdBuilder::Locator{"Wi2k", PlainBytes("C:\\parent.vhd")},
        VhdBuilder::Locator{"MacX", PlainBytes("file://./parent.vhd")}}) {
    SCOPED_TRACE(locator.platform);
    child_.builder.locators = {locator};
    ExpectRead();
  }
}

TEST_F(Differencing, PassesOverLocatorsThatLeadNowhere) {
  child_.builder.locators = {{"W2ru", testing::Utf16Le("gone.vhd")},
                             {"MacX", testing::PlainBytes("file://%")},
                             {"Mac ", testing::PlainBytes("an alias")},
                             {"W2ku", testing::Utf16Le("X:\\old\\parent.vhd")}};
  ExpectRead();
  const auto disk = OpenChild();
  EXPECT_TRUE(HasDefect(*disk->image, "locator MacX holds no name"));
}

TEST_F(Differencing, RefusesAParentThatIsNotTheOne) {
  child_.builder.parent_name = "parent.vhd";
  child_.builder.parent_id[15] ^= 1;
  EXPECT_EQ(Refusal(), "image.chain.parent_mismatch");
}

TEST_F(Differencing, RefusesParentsThatAreMissingOrOutside) {
  EXPECT_EQ(Refusal(), "image.chain.missing");  // no name at all
  child_.builder.parent_name = "gone.vhd";
  EXPECT_EQ(Refusal(), "image.chain.missing");
  child_.builder.parent_name = "..\\..\\etc\\passwd";
  EXPECT_EQ(Refusal(), "image.chain.outside");
  child_.builder.parent_name = "child.vhd";
  EXPECT_EQ(Refusal(), "image.chain.loop");
}

TEST_F(Differencing, TakesAParentThatIsShorter) {
  child_.builder.parent_name = "parent.vhd";
  child_.builder.size_bytes += 8 * 4096;
  child_.guest.resize(child_.guest.size() + 8 * 4096);
  ExpectRead();
}

/// Five disks on each other, random sectors in each.
TEST(VhdChain, ReadsFiveDisksAsOneProperty) {
  const TempDir dir;
  const std::uint64_t seed = 21;
  SCOPED_TRACE(seed);
  FakeRandom random(seed);
  Bytes guest(30 * 8192);
  for (std::uint8_t level = 0; level < 5; ++level) {
    VhdBuilder builder;
    builder.size_bytes = guest.size();
    builder.block_bytes = level % 2 == 0 ? 8192 : 4096;
    builder.unique_id = {level, 1};
    if (level > 0) {
      builder.kind = VhdBuilder::Kind::kDifferencing;
      builder.parent_id = {static_cast<std::uint8_t>(level - 1), 1};
      builder.parent_name = "disk" + std::to_string(level - 1) + ".vhd";
    }
    for (std::uint64_t block = 0; block < guest.size() / builder.block_bytes; ++block) {
      if (random.Below(3) != 0) continue;
      Bytes data = RandomBytes(random, builder.block_bytes);
      Bytes bitmap(512);
      for (std::size_t sector = 0; sector < builder.block_bytes / 512; ++sector) {
        if (level > 0 && random.Below(2) == 0) continue;
        bitmap[sector / 8] |= std::byte{0x80} >> (sector % 8);
        std::copy_n(data.begin() + static_cast<std::ptrdiff_t>(512 * sector), 512,
                    guest.begin() +
                        static_cast<std::ptrdiff_t>(block * builder.block_bytes + 512 * sector));
      }
      builder.blocks[block] = std::move(data);
      builder.bitmaps[block] = std::move(bitmap);
    }
    Save(dir / ("disk" + std::to_string(level) + ".vhd"), builder.Build());
  }
  const auto disk = OpenDisk((dir / "disk4.vhd").string(), {});
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  EXPECT_TRUE(ReadAll(*disk->image) == guest);
  EXPECT_EQ(disk->image->Info().chain.size(), 4U);
}

}  // namespace
}  // namespace vmferry::image::vhd
