// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/qcow2_image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/open.h"
#include "image/qcow2/header.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/qcow2_builder.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"

namespace vmferry::image::qcow2 {
namespace {

using testing::Qcow2Builder;
using testing::TempDir;
using Bytes = std::vector<std::byte>;
using Kind = Qcow2Builder::Kind;

Bytes Noise(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  testing::FakeRandom random(seed);
  random.Fill(bytes);
  return bytes;
}

std::unique_ptr<DiskImage> MustOpen(const Qcow2Builder& builder) {
  auto disk = Open(MakeMemorySource(builder.Build()), NoCompanions());
  EXPECT_TRUE(disk.has_value()) << disk.error().ToString();
  return disk ? *std::move(disk) : nullptr;
}

std::string Put(const TempDir& folder, std::string_view name, const Bytes& bytes) {
  const auto path = folder / name;
  EXPECT_TRUE(sys::WriteWholeFile(path, AsText(bytes)).has_value());
  return path;
}

std::string Detail(const DiskImageInfo& info, std::string_view name) {
  for (const auto& [key, value] : info.details) {
    if (key == name) return value;
  }
  return {};
}

/// Random clusters of all kinds.
Qcow2Builder RandomDisk(std::uint64_t seed, std::uint32_t cluster_bits, bool extended) {
  testing::FakeRandom random(seed);
  Qcow2Builder builder;
  builder.cluster_bits = cluster_bits;
  builder.incompatible = extended ? kIncompatibleExtendedL2 : 0;
  const std::uint64_t cluster_bytes = std::uint64_t{1} << cluster_bits;
  builder.size_bytes = 40 * cluster_bytes - random.Below(cluster_bytes) / 512 * 512;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const std::uint64_t kind = random.Below(6);
    if (kind == 0) continue;
    Qcow2Builder::Cluster& cluster = builder.clusters[i];
    cluster.data = Noise(cluster_bytes, seed * 100 + i);
    cluster.kind = kind == 1   ? Kind::kZero
                   : kind == 2 ? Kind::kZeroPlaced
                   : kind == 3 ? Kind::kCompressed
                               : Kind::kPlain;
    if (kind == 3) std::fill(cluster.data.begin() + 300, cluster.data.end(), std::byte{42});
    if (kind == 5) {
      cluster.allocated = static_cast<std::uint32_t>(random.Next());
      cluster.zero = static_cast<std::uint32_t>(random.Next()) & ~cluster.allocated;
    }
  }
  return builder;
}

TEST(Qcow2Image, RandomDisksReadAsTheyWereMadeProperty) {
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    SCOPED_TRACE(seed);
    const bool extended = seed % 2 == 0;
    const std::uint32_t bits = extended ? 14 : 9 + static_cast<std::uint32_t>(seed % 5);
    const Qcow2Builder builder = RandomDisk(seed, bits, extended);
    const Bytes guest = builder.Guest();
    const auto disk = MustOpen(builder);
    ASSERT_NE(disk, nullptr);
    Bytes whole(guest.size());
    ASSERT_TRUE(disk->Read(0, whole).has_value());
    ASSERT_TRUE(whole == guest);

    // Split reads are one read.
    testing::FakeRandom random(seed);
    Bytes split(guest.size());
    for (std::size_t at = 0; at < split.size();) {
      const auto size =
          std::min<std::size_t>(split.size() - at, 1 + random.Below(std::uint64_t{3} << bits));
      ASSERT_TRUE(disk->Read(at, std::span(split).subspan(at, size)).has_value());
      at += size;
    }
    ASSERT_TRUE(split == guest);

    // Extents cover the disk once and tell the truth.
    const auto extents = disk->Extents(0, guest.size());
    ASSERT_TRUE(extents.has_value());
    std::uint64_t at = 0;
    for (const Extent& extent : *extents) {
      ASSERT_EQ(extent.offset_bytes, at);
      at += extent.length_bytes;
      if (extent.kind == ExtentKind::kData) continue;
      const auto from = guest.begin() + static_cast<std::ptrdiff_t>(extent.offset_bytes);
      ASSERT_TRUE(std::all_of(from, from + static_cast<std::ptrdiff_t>(extent.length_bytes),
                              [](std::byte byte) { return byte == std::byte{0}; }));
    }
    ASSERT_EQ(at, guest.size());
  }
}

TEST(Qcow2Image, QemuImgAgreesWithTheBuilderProperty) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  for (const bool extended : {false, true}) {
    const Qcow2Builder builder = RandomDisk(7, extended ? 14 : 12, extended);
    const std::string path = Put(folder, "disk.qcow2", builder.Build());
    const std::string raw = Put(folder, "disk.raw", builder.Guest());
    const auto checked = testing::RunTool({"qemu-img", "check", path});
    EXPECT_TRUE(checked.ok()) << checked.output << checked.error_output;
    const auto compared =
        testing::RunTool({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path});
    EXPECT_TRUE(compared.ok()) << compared.output << compared.error_output;
  }
}

TEST(Qcow2Image, TellsZeroFromHole) {
  Qcow2Builder builder;
  builder.size_bytes = 6 * 4096;
  builder.clusters[1] = {.kind = Kind::kZero, .data = {}};
  builder.clusters[2] = {.kind = Kind::kZeroPlaced, .data = Noise(4096, 1)};
  builder.clusters[4].data = Noise(4096, 2);
  const auto disk = MustOpen(builder);
  ASSERT_NE(disk, nullptr);
  const std::vector<Extent> expected = {{0, 4096, ExtentKind::kHole},
                                        {4096, 8192, ExtentKind::kZero},
                                        {3 * 4096, 4096, ExtentKind::kHole},
                                        {4 * 4096, 4096, ExtentKind::kData},
                                        {5 * 4096, 4096, ExtentKind::kHole}};
  EXPECT_EQ(*disk->Extents(0, disk->SizeBytes()), expected);
  EXPECT_EQ(disk->Info().allocated_size_bytes, 4096U);
}

TEST(Qcow2Image, SaysWhatItIs) {
  Qcow2Builder builder;
  builder.compatible = kCompatibleLazyRefcounts | 1U << 9;
  builder.incompatible = kIncompatibleDirty | kIncompatibleCorrupt;
  std::string bitmaps(24, '\0');
  bitmaps[3] = 2;
  builder.extensions = {{0x23852875, bitmaps}};
  for (int i = 0; i < 20; ++i) builder.snapshots.push_back({std::to_string(i), ""});
  builder.snapshots[1].name = "be\nfore";
  const auto disk = MustOpen(builder);
  ASSERT_NE(disk, nullptr);
  const DiskImageInfo& info = disk->Info();
  EXPECT_EQ(info.format, "qcow2");
  EXPECT_EQ(Detail(info, "version"), "3");
  EXPECT_EQ(Detail(info, "cluster size"), "4 KiB");
  EXPECT_EQ(Detail(info, "lazy refcounts"), "yes");
  EXPECT_EQ(Detail(info, "dirty bitmaps"), "2, out of date");
  EXPECT_EQ(Detail(info, "unknown compatible features"), "0x200");
  const std::string snapshots = Detail(info, "VM snapshots");
  EXPECT_TRUE(snapshots.starts_with("20: 0, be?fore, 2, ")) << snapshots;
  EXPECT_TRUE(snapshots.ends_with("15, ...")) << snapshots;
  ASSERT_EQ(info.defects.size(), 2U);
  EXPECT_NE(info.defects[0].find("dirty"), std::string::npos);
  EXPECT_NE(info.defects[1].find("corrupt"), std::string::npos);
}

TEST(Qcow2Image, NamesTheFeaturesItDoesNotKnow) {
  Qcow2Builder builder;
  builder.incompatible = std::uint64_t{1} << 40 | std::uint64_t{1} << 63;
  builder.extensions = {
      Qcow2Builder::FeatureNames({{{1, 40}, "not this one"}, {{0, 40}, "holographic clusters"}})};
  const auto disk = Open(MakeMemorySource(builder.Build()), NoCompanions());
  ASSERT_FALSE(disk.has_value());
  EXPECT_EQ(disk.error().reason(), "qcow2.header.features");
  EXPECT_NE(disk.error().message().find("'holographic clusters' (bit 40), bit 63"),
            std::string::npos)
      << disk.error().message();
}

TEST(Qcow2Image, StandsOnBackingFilesOfOtherSizesAndFormats) {
  const TempDir folder;
  Qcow2Builder overlay;
  overlay.size_bytes = 4 * 4096;
  overlay.clusters[1].data = Noise(4096, 1);
  overlay.clusters[2] = {.kind = Kind::kZero, .data = {}};
  for (const std::size_t base_size :
       {std::size_t{512}, std::size_t{3 * 4096 + 512}, std::size_t{9 * 4096}}) {
    SCOPED_TRACE(base_size);
    const Bytes base = Noise(base_size, 9);
    Bytes expected = base;
    expected.resize(4 * 4096);
    std::copy_n(overlay.clusters[1].data.begin(), 4096, expected.begin() + 4096);
    std::fill_n(expected.begin() + 2 * 4096, 4096, std::byte{0});
    Put(folder, "base.unusual", base);
    overlay.backing_name = base_size == 512 ? "file:base.unusual" : "base.unusual";
    overlay.extensions = {{0xe2792aca, "raw"}};
    const auto disk = OpenDisk(Put(folder, "disk.qcow2", overlay.Build()));
    ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
    Bytes read(expected.size());
    ASSERT_TRUE(disk->image->Read(0, read).has_value());
    EXPECT_TRUE(read == expected);
    ASSERT_EQ(disk->image->Info().chain.size(), 1U);
    EXPECT_EQ(disk->image->Info().chain[0].format, "raw");
  }
}

TEST(Qcow2Image, ADeclaredRawBackingFileIsNotProbed) {
  // A guest that writes a QCOW2 header onto its raw disk must not choose the next file.
  const TempDir folder;
  Qcow2Builder trap;
  trap.backing_name = "secret";
  const Bytes base = trap.Build();
  Put(folder, "base", base);
  Qcow2Builder overlay;
  overlay.size_bytes = base.size();
  overlay.backing_name = "base";
  overlay.extensions = {{0xe2792aca, "raw"}};
  const auto disk = OpenDisk(Put(folder, "disk.qcow2", overlay.Build()));
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes read(base.size());
  ASSERT_TRUE(disk->image->Read(0, read).has_value());
  EXPECT_TRUE(read == base);
}

TEST(Qcow2Image, RefusesBackingFilesThatAreNoFilesOrLieElsewhere) {
  const TempDir folder;
  struct Case {
    const char* name;
    const char* reason;
  };
  for (const Case& tested :
       {Case{"nbd://localhost:10809/disk", "image.chain.bad_name"},
        Case{"json:{\"driver\":\"qcow2\",\"file\":{\"filename\":\"b\"}}", "image.chain.bad_name"},
        Case{"https://example.com/disk.qcow2", "image.chain.bad_name"},
        Case{"fat:rw:/tmp", "image.chain.bad_name"}, Case{"/etc/passwd", "image.chain.outside"},
        Case{"file:///etc/passwd", "image.chain.outside"},
        Case{"../../etc/passwd", "image.chain.outside"},
        Case{"missing.qcow2", "image.chain.missing"}, Case{"disk.qcow2", "image.chain.loop"}}) {
    Qcow2Builder overlay;
    overlay.backing_name = tested.name;
    const auto disk = OpenDisk(Put(folder, "disk.qcow2", overlay.Build()));
    ASSERT_FALSE(disk.has_value()) << tested.name;
    EXPECT_EQ(disk.error().reason(), tested.reason) << tested.name;
  }
}

TEST(Qcow2Image, ReadsAnExternalDataFileOnlyInItsFolder) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const TempDir folder;
  const Bytes guest = Noise(300 * 1024, 4);
  const std::string raw = Put(folder, "guest.raw", guest);
  const auto made =
      testing::RunTool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o",
                        "data_file=" + (folder / "data").string(), raw, folder / "disk.qcow2"});
  ASSERT_TRUE(made.ok()) << made.error_output;
  const auto disk = OpenDisk(folder / "disk.qcow2");
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes read(guest.size());
  ASSERT_TRUE(disk->image->Read(0, read).has_value());
  EXPECT_TRUE(read == guest);

  const TempDir elsewhere;
  std::filesystem::copy(folder / "disk.qcow2", elsewhere / "disk.qcow2");
  const auto refused = OpenDisk(elsewhere / "disk.qcow2");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason(), "qcow2.external_data");
  EXPECT_EQ(refused.error().code(), ErrorCode::kPermissionDenied);
  EXPECT_NE(refused.error().remedy().find("--allow-path"), std::string::npos);
}

TEST(Qcow2Image, ListsAHugeDiskQuickly) {
  // 15 TiB with a cluster at either end: a run for what lies between.
  Qcow2Builder builder;
  builder.cluster_bits = 16;
  builder.size_bytes = 15 * kTiB;
  builder.clusters[0].data = Noise(65536, 1);
  builder.clusters[15 * kTiB / 65536 - 1].data = Noise(65536, 2);
  const auto disk = MustOpen(builder);
  ASSERT_NE(disk, nullptr);
  const auto extents = disk->Extents(0, disk->SizeBytes());
  ASSERT_TRUE(extents.has_value());
  EXPECT_EQ(extents->size(), 3U);
  EXPECT_EQ(disk->Info().allocated_size_bytes, 2 * 65536U);
}

}  // namespace
}  // namespace vmferry::image::qcow2
