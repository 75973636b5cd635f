// SPDX-License-Identifier: Apache-2.0
//
// Every field of every structure, set to what it must not be, is refused with the right reason; a
// file that ends anywhere before its end is never taken for a whole one without a word.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/units.h"
#include "image/companions.h"
#include "image/vhd/vhd_image.h"
#include "testing/vhd_builder.h"

namespace vmferry::image::vhd {
namespace {

using testing::PokeBe;
using testing::VhdBuilder;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

VhdBuilder MakeDynamic() {
  VhdBuilder builder;
  builder.size_bytes = 20 * 4096;
  builder.block_bytes = 4096;
  for (const std::uint64_t block : {0U, 3U, 4U, 19U}) {
    builder.blocks[block] = Bytes(4096, std::byte{0x5a});
  }
  return builder;
}

VhdBuilder MakeFixed() {
  VhdBuilder builder;
  builder.kind = VhdBuilder::Kind::kFixed;
  builder.size_bytes = 8192;
  builder.fixed = Bytes(8192, std::byte{0x5a});
  return builder;
}

/// The reason why the disk cannot be opened or read in full; "" when it can.
std::string Refusal(Bytes bytes) {
  const auto disk = Open(MakeMemorySource(std::move(bytes)), NoCompanions());
  if (!disk) return disk.error().reason();
  if ((*disk)->SizeBytes() > kMiB) return "";
  Bytes guest((*disk)->SizeBytes());
  const auto read = (*disk)->Read(0, guest);
  return read ? "" : read.error().reason();
}

/// A number put into the footer (both of them) or the dynamic header.
struct Field {
  std::string name;
  std::size_t at;
  std::size_t bytes;
  std::uint64_t value;
  std::string reason;  ///< "" where the disk stays good
};

void ExpectFooterRefusals(const VhdBuilder& builder, const std::vector<Field>& fields) {
  const Bytes good = builder.Build();
  EXPECT_EQ(Refusal(good), "");
  for (const Field& field : fields) {
    Bytes bad = good;
    std::vector<std::uint64_t> places = {builder.places.footer};
    if (builder.kind != VhdBuilder::Kind::kFixed) places.push_back(0);
    for (const std::uint64_t place : places) {
      PokeBe(bad, place + field.at, field.value, field.bytes);
      if (field.at != 64) testing::SumVhdFooter(bad, place);
    }
    EXPECT_EQ(Refusal(std::move(bad)), field.reason) << field.name << " " << field.value;
  }
}

TEST(VhdCorruption, FooterOfAFixedDisk) {
  ExpectFooterRefusals(MakeFixed(),
                       {{"cookie", 0, 8, 0, "vhd.footer.missing"},
                        {"features", 8, 4, 0xffffffff, ""},
                        {"features", 8, 4, 0, ""},
                        {"version", 12, 4, 0x00020000, "vhd.footer.version"},
                        {"version", 12, 4, 0, "vhd.footer.version"},
                        {"minor version", 12, 4, 0x00010001, ""},
                        {"data offset", 16, 8, 0, ""},
                        {"time", 24, 4, 0xffffffff, ""},
                        {"creator: by geometry now", 28, 4, 0, "vhd.footer.truncated"},
                        {"original size", 40, 8, kAllOnes, ""},
                        {"current size", 48, 8, 8192 + 512, "vhd.footer.truncated"},
                        {"current size", 48, 8, 8192 - 512, ""},
                        {"current size", 48, 8, 8192 + 511, ""},
                        {"current size", 48, 8, 0, ""},
                        {"current size", 48, 8, std::uint64_t{2040} << 30, "vhd.footer.truncated"},
                        {"current size", 48, 8, (std::uint64_t{2040} << 30) + 1, "vhd.footer.size"},
                        {"current size", 48, 8, kAllOnes, "vhd.footer.size"},
                        {"current size", 48, 8, std::uint64_t{1} << 63, "vhd.footer.size"},
                        {"geometry", 56, 4, 0, ""},
                        {"geometry", 56, 4, 0xffffffff, ""},
                        {"type", 60, 4, 0, "vhd.footer.disk_type"},
                        {"type", 60, 4, 1, "vhd.footer.disk_type"},
                        {"type", 60, 4, 3, "vhd.footer.data_offset"},
                        {"type", 60, 4, 5, "vhd.footer.disk_type"},
                        {"type", 60, 4, 0xffffffff, "vhd.footer.disk_type"},
                        {"checksum", 64, 4, 0, "vhd.footer.checksum"},
                        {"saved state", 84, 1, 0xff, ""},
                        {"reserved", 85, 8, kAllOnes, ""}});
}

TEST(VhdCorruption, FooterOfADynamicDisk) {
  const VhdBuilder builder = MakeDynamic();
  const std::uint64_t footer = (builder.Build(), builder.places.footer);
  ExpectFooterRefusals(
      builder,
      {{"cookie", 0, 8, 0, "vhd.footer.missing"},
       {"version", 12, 4, 0x00020000, "vhd.footer.version"},
       {"data offset", 16, 8, kAllOnes, "vhd.footer.data_offset"},
       {"data offset", 16, 8, footer - 1023, "vhd.footer.data_offset"},
       {"data offset", 16, 8, footer - 1024, "vhd.dynamic_header.cookie"},
       {"data offset", 16, 8, 0, "vhd.dynamic_header.cookie"},
       {"data offset", 16, 8, 513, "vhd.dynamic_header.cookie"},
       {"current size", 48, 8, 20 * 4096 + 512, "vhd.dynamic_header.table_entries"},
       {"current size", 48, 8, 19 * 4096 + 512, ""},
       {"current size", 48, 8, 0, ""},
       {"current size", 48, 8, std::uint64_t{2040} << 30, "vhd.dynamic_header.table_entries"},
       {"current size", 48, 8, kAllOnes, "vhd.footer.size"},
       {"type", 60, 4, 2, "vhd.footer.truncated"},
       {"type", 60, 4, 4, "image.chain.outside"},
       {"type", 60, 4, 6, "vhd.footer.disk_type"},
       {"checksum", 64, 4, 0, "vhd.footer.checksum"}});
}

TEST(VhdCorruption, DynamicHeader) {
  const VhdBuilder builder = MakeDynamic();
  const Bytes good = builder.Build();
  const std::uint64_t footer = builder.places.footer;
  const std::vector<Field> fields = {
      {"cookie", 0, 8, 0, "vhd.dynamic_header.cookie"},
      {"data offset", 8, 8, 0, ""},
      {"table offset", 16, 8, kAllOnes, "vhd.dynamic_header.table_offset"},
      {"table offset", 16, 8, footer - 79, "vhd.dynamic_header.table_offset"},
      {"table offset", 16, 8, 512, "vhd.dynamic_header.table_offset"},
      {"table offset", 16, 8, 1535, "vhd.dynamic_header.table_offset"},
      {"table offset", 16, 8, 433, "vhd.dynamic_header.table_offset"},
      {"table offset", 16, 8, 0, "vhd.block_table.range"},  // "cone" as an entry
      {"version", 24, 4, 0, "vhd.dynamic_header.version"},
      {"version", 24, 4, 0x00020000, "vhd.dynamic_header.version"},
      {"version", 24, 4, 0x00010005, ""},
      {"entries", 28, 4, 0, "vhd.dynamic_header.table_entries"},
      {"entries", 28, 4, 19, "vhd.dynamic_header.table_entries"},
      {"entries", 28, 4, 0xffffffff, ""},  // those beyond the disk are not read
      {"block size", 32, 4, 0, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 512, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 2048, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 4097, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 3 << 20, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 0x80000000, "vhd.block_table.range"},
      {"block size", 32, 4, 0xffffffff, "vhd.dynamic_header.block_size"},
      {"block size", 32, 4, 8192, "vhd.block_table.overlap"},
      {"checksum", 36, 4, 0, "vhd.dynamic_header.checksum"},
      {"parent id", 40, 8, kAllOnes, ""},
      {"parent name", 64, 8, kAllOnes, ""},
      {"locator", 576, 8, kAllOnes, ""},
      {"reserved", 768, 8, kAllOnes, ""}};
  for (const Field& field : fields) {
    Bytes bad = good;
    PokeBe(bad, builder.places.header + field.at, field.value, field.bytes);
    if (field.at != 36) testing::SumVhdHeader(bad, builder.places.header);
    EXPECT_EQ(Refusal(std::move(bad)), field.reason) << field.name << " " << field.value;
  }
}

TEST(VhdCorruption, BlockTable) {
  const VhdBuilder builder = MakeDynamic();
  const Bytes good = builder.Build();
  const std::uint64_t footer_sector = builder.places.footer / 512;
  const std::uint64_t first_sector = builder.places.blocks.at(0) / 512;
  const std::vector<std::pair<std::uint64_t, std::string>> entries = {
      {0, "vhd.block_table.range"},
      {1, "vhd.block_table.range"},                 // the dynamic header
      {first_sector - 1, "vhd.block_table.range"},  // the table itself
      {first_sector, "vhd.block_table.overlap"},    // another block
      {first_sector + 1, "vhd.block_table.overlap"},
      {footer_sector - 1, "vhd.block_table.range"},
      {footer_sector - 8, "vhd.block_table.range"},    // reaches into the footer
      {footer_sector - 9, "vhd.block_table.overlap"},  // the last block
      {0xfffffffe, "vhd.block_table.range"},
      {0xffffffff, ""}};
  for (const auto& [entry, reason] : entries) {
    Bytes bad = good;
    PokeBe(bad, builder.places.table + 4 * 7, entry, 4);
    EXPECT_EQ(Refusal(std::move(bad)), reason) << entry;
  }
}

TEST(VhdCorruption, Locators) {
  struct Case {
    std::string name;
    std::size_t at;
    std::size_t bytes;
    std::uint64_t value;
  };
  VhdBuilder builder = MakeDynamic();
  builder.kind = VhdBuilder::Kind::kDifferencing;
  builder.locators = {{"W2ru", testing::Utf16Le("parent.vhd")}};
  const Bytes good = builder.Build();
  for (const Case& tested :
       {Case{"length", 8, 4, 0}, Case{"length", 8, 4, 0xffffffff}, Case{"length", 8, 4, 65537},
        Case{"offset", 16, 8, kAllOnes}, Case{"offset", 16, 8, good.size() - 1},
        Case{"platform", 0, 4, 0x41424344}}) {
    Bytes bad = good;
    PokeBe(bad, builder.places.header + 576 + tested.at, tested.value, tested.bytes);
    testing::SumVhdHeader(bad, builder.places.header);
    // The companions are asked for a parent without a name, and nothing outside is read.
    EXPECT_EQ(Refusal(std::move(bad)), "image.chain.outside") << tested.name << tested.value;
  }
}

TEST(VhdCorruption, EveryCutIsNoticed) {
  for (const VhdBuilder& builder : {MakeDynamic(), MakeFixed()}) {
    const Bytes good = builder.Build();
    const std::uint64_t last_byte = builder.places.footer;
    for (std::uint64_t size = 0; size < good.size(); size += size < 4096 ? 13 : 509) {
      // Without its footer a dynamic disk is whole as long as the copy is there; it is reported.
      const bool whole = builder.kind == VhdBuilder::Kind::kDynamic && size >= last_byte;
      Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
      const auto disk = Open(MakeMemorySource(std::move(cut)), NoCompanions());
      ASSERT_EQ(disk.has_value(), whole) << size;
      if (whole) {
        EXPECT_FALSE((*disk)->Info().defects.empty());
      }
    }
  }
}

TEST(VhdCorruption, EmptyAndTinyFiles) {
  EXPECT_EQ(Refusal({}), "vhd.footer.missing");
  EXPECT_EQ(Refusal(Bytes(511)), "vhd.footer.missing");
  EXPECT_EQ(Refusal(Bytes(512)), "vhd.footer.missing");
  EXPECT_EQ(Refusal(Bytes(5000, std::byte{0xff})), "vhd.footer.missing");
}

}  // namespace
}  // namespace vmferry::image::vhd
