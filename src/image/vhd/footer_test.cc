// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/footer.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "image/vhd/geometry.h"
#include "sys/file.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vhd_builder.h"
#include "text/json.h"

namespace vmferry::image::vhd {
namespace {

using testing::VhdBuilder;
using Bytes = std::vector<std::byte>;

Footer FooterOf(const VhdBuilder& builder) {
  const Bytes file = builder.Build();
  const auto footer = ParseFooter(std::span(file).last(builder.footer_bytes));
  EXPECT_TRUE(footer.has_value());
  return footer ? *footer : Footer{};
}

/// What qemu-img says the size of the disk is.
std::uint64_t SizeByQemu(const VhdBuilder& builder) {
  const testing::TempDir dir;
  const Bytes file = builder.Build();
  EXPECT_TRUE(sys::WriteWholeFile(dir / "a.vhd", AsText(file)).has_value());
  const auto info = testing::RunTool(
      {"qemu-img", "info", "-f", "vpc", "--output=json", (dir / "a.vhd").string()});
  EXPECT_TRUE(info.ok()) << info.error_output;
  const std::size_t at = info.output.find("\"virtual-size\": ");
  return at == info.output.npos ? 0 : std::stoull(info.output.substr(at + 16));
}

TEST(VhdFooter, WritesWhatItReads) {
  VhdBuilder builder;
  builder.created_seconds = 77;
  builder.saved_state = 1;
  const Bytes file = builder.Build();
  const std::array<std::byte, kFooterBytes> stored = StoreFooter(FooterOf(builder));
  EXPECT_TRUE(std::equal(stored.begin(), stored.end(), file.end() - kFooterBytes));
}

TEST(VhdFooter, NamesCreators) {
  const auto name = [](std::string app) {
    VhdBuilder builder;
    builder.creator = std::move(app);
    return CreatorName(FooterOf(builder));
  };
  EXPECT_EQ(name("win "), "Microsoft Hyper-V 10.3");
  EXPECT_EQ(name("vbox"), "VirtualBox 10.3");
  EXPECT_EQ(name("abcd"), "abcd 10.3");
  EXPECT_EQ(name(std::string(4, '\0')), "");
}

TEST(VhdFooter, FindsTheSizeThatQemuImgFinds) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  for (const std::string app :
       {"vpc ", "vs  ", "win ", "d2v ", "qemu", "qem2", "vbox", "CTXS", "tap ", "vmwr", "WIN "}) {
    for (const auto kind : {VhdBuilder::Kind::kFixed, VhdBuilder::Kind::kDynamic}) {
      VhdBuilder builder;
      builder.kind = kind;
      builder.creator = app;
      builder.size_bytes = 4'000'256;
      builder.geometry = {100, 4, 17};
      EXPECT_EQ(*DiskBytes(FooterOf(builder)), SizeByQemu(builder)) << app;
    }
  }
  for (const std::string& app :
       {std::string("tap\0", 4), std::string("wa\0\0", 4), std::string(4, '\0')}) {
    VhdBuilder builder;
    builder.creator = app;
    builder.size_bytes = 4'000'256;
    builder.geometry = {100, 4, 17};
    EXPECT_EQ(*DiskBytes(FooterOf(builder)), SizeByQemu(builder)) << app;
  }
}

TEST(VhdFooter, LargestGeometryMeansCurrentSizeAsInQemuImg) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  for (const std::array<std::uint16_t, 3>& geometry :
       {std::array<std::uint16_t, 3>{65535, 16, 255}, {65535, 16, 254}, {65534, 16, 255}}) {
    VhdBuilder builder;
    builder.creator = "vpc ";
    builder.size_bytes = std::uint64_t{200} << 30;
    builder.geometry = geometry;
    EXPECT_EQ(*DiskBytes(FooterOf(builder)), SizeByQemu(builder)) << geometry[0];
  }
}

TEST(VhdFooter, TakesTheCurrentSizeWhereTheGeometryIsNothing) {
  VhdBuilder builder;
  builder.creator = "vpc ";
  builder.geometry = {0, 0, 0};
  EXPECT_EQ(*DiskBytes(FooterOf(builder)), builder.size_bytes);
  EXPECT_EQ(SizeRuleOf(FooterOf(builder)), SizeRule::kNoGeometry);
}

TEST(VhdFooter, TakesUpTo2040GiB) {
  VhdBuilder builder;
  Footer footer = FooterOf(builder);
  footer.current_size_bytes = std::uint64_t{2040} << 30;
  EXPECT_EQ(*DiskBytes(footer), footer.current_size_bytes);
  footer.current_size_bytes += 512;
  EXPECT_EQ(DiskBytes(footer).error().reason(), "vhd.footer.size");
}

TEST(VhdGeometry, IsTheSpecifications) {
  EXPECT_EQ(GeometryOf(0), (Geometry{0, 4, 17}));
  EXPECT_EQ(GeometryOf(67), (Geometry{0, 4, 17}));
  EXPECT_EQ(GeometryOf(68), (Geometry{1, 4, 17}));
  EXPECT_EQ(GeometryOf(8192), (Geometry{120, 4, 17}));
  EXPECT_EQ(GeometryOf(2 * kGiB / kSectorBytes), (Geometry{4161, 16, 63}));
  EXPECT_EQ(GeometryOf(kMaxGeometrySectors - 1), (Geometry{65534, 16, 255}));
  EXPECT_EQ(GeometryOf(kMaxGeometrySectors), (Geometry{65535, 16, 255}));
  EXPECT_EQ(GeometryOf(~std::uint64_t{0}), (Geometry{65535, 16, 255}));
}

// qemu-img writes the smallest geometry that is not smaller than the disk, so both agree on disks
// that are a whole geometry.
TEST(VhdGeometry, OfWholeGeometriesIsThatOfQemuImg) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const testing::TempDir dir;
  for (const char* size : {"1M", "30M", "100M", "300M", "504M", "700M", "3G", "40G", "100G"}) {
    const std::string path = (dir / "a.vhd").string();
    ASSERT_TRUE(testing::RunTool({"qemu-img", "create", "-q", "-f", "vpc", path, size}).ok());
    const auto file = sys::File::Open(path, sys::File::Mode::kRead);
    Bytes bytes(kFooterBytes);
    ASSERT_TRUE(file->ReadAt(0, bytes).has_value());
    const auto footer = ParseFooter(bytes);
    ASSERT_TRUE(footer.has_value());
    EXPECT_EQ(GeometryOf(footer->geometry.sectors()), footer->geometry) << size;
  }
}

}  // namespace
}  // namespace vmferry::image::vhd
