// SPDX-License-Identifier: Apache-2.0
//
// Every field of every structure, set to what it must not be, is refused with the right reason; a
// file that ends anywhere before its end is never taken for a whole one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include "base/byte_reader.h"
#include "image/companions.h"
#include "image/open.h"
#include "image/vmdk/header.h"
#include "image/vmdk/vmdk_image.h"
#include "sys/file.h"
#include "testing/fake_random.h"
#include "testing/temp_dir.h"
#include "testing/tool.h"
#include "testing/vmdk_builder.h"

namespace vmferry::image::vmdk {
namespace {

using testing::PokeU16;
using testing::PokeU32;
using testing::PokeU64;
using testing::VmdkBuilder;
using Bytes = std::vector<std::byte>;

VmdkBuilder MakeBuilder(VmdkBuilder::Layout layout) {
  VmdkBuilder builder;
  builder.layout = layout;
  builder.flags |= 4;
  builder.grain_sectors = 8;
  builder.capacity_sectors = 8 * 600 + 3;  // two tables, the last grain is short
  testing::FakeRandom random(1);
  for (const std::uint64_t grain : {0U, 1U, 5U, 511U, 512U, 600U}) {
    builder.grains[grain].resize(grain == 600 ? 3 * 512 : 4096);
    random.Fill(builder.grains[grain]);
  }
  builder.zero_grains = {2};
  return builder;
}

/// The reason why the disk cannot be opened or read in full; "" when it can.
std::string Refusal(Bytes bytes) {
  const auto disk = Open(MakeMemorySource(std::move(bytes)), NoCompanions());
  if (!disk) return disk.error().reason();
  Bytes guest((*disk)->SizeBytes());
  const auto read = (*disk)->Read(0, guest);
  return read ? "" : read.error().reason();
}

struct Mutation {
  std::string field;
  std::function<void(Bytes&)> apply;
  std::string reason;  ///< "" where the disk stays good
};

void ExpectRefusals(const VmdkBuilder& builder, const std::vector<Mutation>& mutations) {
  const Bytes good = builder.Build();
  EXPECT_EQ(Refusal(good), "");
  for (const Mutation& mutation : mutations) {
    Bytes bad = good;
    mutation.apply(bad);
    EXPECT_EQ(Refusal(std::move(bad)), mutation.reason) << mutation.field;
  }
}

Mutation U16(std::string field, std::uint64_t at, std::uint16_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU16(bytes, at, value); }, std::move(reason)};
}
Mutation U32(std::string field, std::uint64_t at, std::uint32_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU32(bytes, at, value); }, std::move(reason)};
}
Mutation U64(std::string field, std::uint64_t at, std::uint64_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU64(bytes, at, value); }, std::move(reason)};
}

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

TEST(VmdkCorruption, Header) {
  const VmdkBuilder builder = MakeBuilder(VmdkBuilder::Layout::kDirectoryFirst);
  const std::uint64_t file_sectors = builder.Build().size() / 512;
  const std::uint32_t flags = builder.flags;
  ExpectRefusals(
      builder,
      {
          U32("magic", 0, 0, "vmdk.descriptor.signature"),
          U32("version 0", 4, 0, "vmdk.header.version"),
          U32("version 1", 4, 1, ""),
          U32("version 2", 4, 2, ""),
          U32("version 4", 4, 4, "vmdk.header.version"),
          U32("version all ones", 4, ~0U, "vmdk.header.version"),
          U32("flags: monolithic sparse", 8, flags & 0xffff, "vmdk.header.compression"),
          U32("flags: compressed only", 8, flags & ~kFlagMarkers, "vmdk.header.flags"),
          U32("flags: markers only", 8, flags & ~kFlagCompressed, "vmdk.header.flags"),
          U32("flags: unknown", 8, flags | 8, "vmdk.header.flags"),
          U32("flags: unknown high", 8, flags | 0x80000000, "vmdk.header.flags"),
          U32("flags: no zero grains", 8, flags & ~kFlagZeroGrains, "vmdk.grain_table.range"),
          U64("capacity 0", 12, 0, "vmdk.header.capacity"),
          U64("capacity beyond the limit", 12, kMaxCapacitySectors + 1, "vmdk.header.capacity"),
          U64("capacity all ones", 12, kAllOnes, "vmdk.header.capacity"),
          U64("capacity smaller than the extent", 12, builder.capacity_sectors - 1,
              "vmdk.descriptor.bad_extent"),
          U64("capacity a grain larger than the extent", 12, builder.capacity_sectors + 8,
              "vmdk.descriptor.bad_extent"),
          U64("grain size 0", 20, 0, "vmdk.header.grain_size"),
          U64("grain size 4", 20, 4, "vmdk.header.grain_size"),
          U64("grain size no power of two", 20, 24, "vmdk.header.grain_size"),
          U64("grain size beyond the limit", 20, 8192, "vmdk.header.grain_size"),
          U64("grain size all ones", 20, kAllOnes, "vmdk.header.grain_size"),
          U64("grain size of another disk", 20, 16, "vmdk.grain.marker"),
          U64("descriptor at the header", 28, 0, "vmdk.header.descriptor"),
          U64("descriptor outside", 28, file_sectors, "vmdk.header.descriptor"),
          U64("descriptor offset overflows", 28, kAllOnes, "vmdk.header.descriptor"),
          U64("descriptor elsewhere", 28, 3, "vmdk.extent.alone"),
          U64("descriptor of no sectors", 36, 0, "vmdk.header.descriptor"),
          U64("descriptor of 1 MiB and a sector", 36, 2049, "vmdk.header.descriptor"),
          U64("descriptor size all ones", 36, kAllOnes, "vmdk.header.descriptor"),
          U64("descriptor over the directory", 36, 21, "vmdk.grain_directory.truncated"),
          U32("entries per table 0", 44, 0, "vmdk.header.table_size"),
          U32("entries per table 511", 44, 511, "vmdk.header.table_size"),
          U32("entries per table 1024", 44, 1024, "vmdk.header.table_size"),
          U64("redundant directory is not used", 48, kAllOnes, ""),
          U64("directory at the header", 56, 0, "vmdk.header.directory"),
          U64("directory in the descriptor", 56, 1, "vmdk.grain_directory.truncated"),
          U64("directory outside", 56, file_sectors, "vmdk.grain_directory.truncated"),
          U64("directory offset overflows", 56, kAllOnes - 1, "vmdk.grain_directory.truncated"),
          U64("directory at the end, without a footer", 56, kAllOnes, "vmdk.footer.missing"),
          U64("overhead beyond the file", 64, file_sectors + 1, "vmdk.header.overhead"),
          U32("line ends translated", 73, 0x0a0d0a20, "vmdk.header.newlines"),
          U16("compression 0", 77, 0, "vmdk.header.compression"),
          U16("compression 2", 77, 2, "vmdk.header.compression"),
          {"one byte more", [](Bytes& bytes) { bytes.push_back({}); }, "vmdk.header.file_size"},
      });
}

TEST(VmdkCorruption, Footer) {
  const VmdkBuilder builder = MakeBuilder(VmdkBuilder::Layout::kFooter);
  builder.Build();
  const std::uint64_t footer = builder.places.footer;
  ExpectRefusals(
      builder,
      {
          U64("marker: sectors", footer - 512, 2, "vmdk.footer.missing"),
          U32("marker: size", footer - 512 + 8, 1, "vmdk.footer.missing"),
          U32("marker: kind", footer - 512 + 12, 2, "vmdk.footer.missing"),
          U64("end: sectors", footer + 512, 1, "vmdk.footer.missing"),
          U32("end: size", footer + 512 + 8, 1, "vmdk.footer.missing"),
          U32("end: kind", footer + 512 + 12, 3, "vmdk.footer.missing"),
          U32("magic", footer, 0, "vmdk.header.magic"),
          U32("version", footer + 4, 1, "vmdk.footer.mismatch"),
          U32("flags", footer + 8, builder.flags & ~1U, "vmdk.footer.mismatch"),
          U64("capacity", footer + 12, 8, "vmdk.footer.mismatch"),
          U64("grain size", footer + 20, 16, "vmdk.footer.mismatch"),
          U32("entries per table", footer + 44, 1, "vmdk.header.table_size"),
          U64("directory again at the end", footer + 56, kAllOnes, "vmdk.footer.mismatch"),
          U64("directory outside", footer + 56, footer / 512 - 1, "vmdk.grain_directory.truncated"),
      });
}

TEST(VmdkCorruption, DirectoryTablesAndGrains) {
  for (const auto layout : {VmdkBuilder::Layout::kDirectoryFirst, VmdkBuilder::Layout::kFooter}) {
    const VmdkBuilder builder = MakeBuilder(layout);
    const Bytes good = builder.Build();
    const auto file_sectors = static_cast<std::uint32_t>(good.size() / 512);
    const auto& places = builder.places;
    const auto sector_of = [](std::uint64_t offset) {
      return static_cast<std::uint32_t>(offset / 512);
    };
    // Where grains end: the file, or the footer's marker.
    const std::uint32_t end = places.footer == 0 ? file_sectors : sector_of(places.footer) - 1;
    const std::uint64_t grain_1 = places.grains.at(1);
    const std::uint64_t last = places.grains.at(600);
    ExpectRefusals(
        builder,
        {
            U32("directory: header", places.directory, 1, "vmdk.grain_directory.range"),
            U32("directory: end", places.directory, end, "vmdk.grain_directory.range"),
            U32("directory: last sectors cut", places.directory, end - 3,
                "vmdk.grain_directory.range"),
            U32("directory: all ones", places.directory, ~0U, "vmdk.grain_directory.range"),
            U32("directory: same table twice", places.directory, sector_of(places.tables.at(1)),
                "vmdk.grain_directory.overlap"),
            U32("directory: tables overlap", places.directory, sector_of(places.tables.at(1)) - 3,
                "vmdk.grain_directory.overlap"),
            U32("table: descriptor", places.tables.at(0), 2, "vmdk.grain_table.range"),
            U32("table: end", places.tables.at(0), end, "vmdk.grain_table.range"),
            U32("table: all ones", places.tables.at(0), ~0U, "vmdk.grain_table.range"),
            U32("table: another grain", places.tables.at(0), sector_of(grain_1),
                "vmdk.grain.marker"),
            U32("table: a hole in place of a grain", places.tables.at(0) + 4, 0, ""),
            U64("grain: guest sector", grain_1, 0, "vmdk.grain.marker"),
            U64("grain: guest sector all ones", grain_1, kAllOnes, "vmdk.grain.marker"),
            U32("grain: no bytes", grain_1 + 8, 0, "vmdk.grain.size"),
            U32("grain: too many bytes", grain_1 + 8, 2 * 4096 + 1, "vmdk.grain.size"),
            U32("grain: all ones", grain_1 + 8, ~0U, "vmdk.grain.size"),
            U32("grain: a byte less", grain_1 + 8, 100, "vmdk.grain.inflate"),
            U16("grain: zlib header", grain_1 + 12, 0, "vmdk.grain.inflate"),
            U32("grain: data", grain_1 + 200, 0x12345678, "vmdk.grain.inflate"),
            U32("last grain: past the end", last + 8, 2 * 4096, "vmdk.grain.truncated"),
        });
  }
}

TEST(VmdkCorruption, GrainsOfAnotherLength) {
  VmdkBuilder builder = MakeBuilder(VmdkBuilder::Layout::kFooter);
  builder.grains[1].resize(4095);
  EXPECT_EQ(Refusal(builder.Build()), "vmdk.grain.length");
  builder.grains[1].resize(4097);
  EXPECT_EQ(Refusal(builder.Build()), "vmdk.grain.inflate");
  builder.grains[1].resize(4096);
  builder.grains[600].resize(3 * 512 - 1);
  EXPECT_EQ(Refusal(builder.Build()), "vmdk.grain.length");
  builder.grains[600].resize(4096);
  EXPECT_EQ(Refusal(builder.Build()), "");
}

TEST(VmdkCorruption, DirectoryThatWouldNotFitInMemory) {
  VmdkBuilder builder;
  builder.layout = VmdkBuilder::Layout::kFooter;
  builder.grain_sectors = 4096;
  Bytes bytes = builder.Build();
  // 64 TiB with grains of 4 KiB: 33 million tables.
  for (const std::uint64_t at : {std::uint64_t{0}, builder.places.footer}) {
    PokeU64(bytes, at + 12, kMaxCapacitySectors);
    PokeU64(bytes, at + 20, 8);
  }
  const std::string text = "RW " + std::to_string(builder.capacity_sectors);
  const std::string huge = "RW " + std::to_string(kMaxCapacitySectors);
  std::string descriptor = builder.DefaultDescriptor();
  descriptor.replace(descriptor.find(text), text.size(), huge);
  for (std::size_t i = 0; i < descriptor.size(); ++i) {
    bytes[512 + i] = static_cast<std::byte>(descriptor[i]);
  }
  EXPECT_EQ(Refusal(bytes), "vmdk.grain_directory.too_large");
}

/// Cuts the file at every byte; nothing but padding may be missed without an error.
void ExpectNoCutGoesUnnoticed(const Bytes& whole, std::size_t step) {
  const auto disk = Open(MakeMemorySource(whole), NoCompanions());
  ASSERT_TRUE(disk.has_value()) << disk.error().ToString();
  Bytes expected((*disk)->SizeBytes());
  ASSERT_TRUE((*disk)->Read(0, expected).has_value());
  std::size_t unnoticed = 0;
  for (std::size_t size = 0; size < whole.size(); size += step) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto opened = Open(MakeMemorySource(std::move(cut)), NoCompanions());
    if (!opened) {
      ASSERT_FALSE(opened.error().reason().empty());
      continue;
    }
    // Opened: then all guest bytes are there, and what was cut off were zeros behind the last
    // grain.
    ++unnoticed;
    Bytes guest(expected.size());
    const auto read = (*opened)->Read(0, guest);
    ASSERT_TRUE(read.has_value()) << "cut at byte " << size << " was noticed only when reading";
    ASSERT_TRUE(guest == expected) << "cut at byte " << size;
    ASSERT_TRUE(std::all_of(whole.begin() + static_cast<std::ptrdiff_t>(size), whole.end(),
                            [](std::byte byte) { return byte == std::byte{0}; }));
  }
  // Whole sectors of padding: qemu-img leaves up to a grain of them.
  EXPECT_LE(unnoticed, 128U);
}

TEST(VmdkTruncation, IsNoticedAtEveryByte) {
  ExpectNoCutGoesUnnoticed(MakeBuilder(VmdkBuilder::Layout::kFooter).Build(), 1);
  ExpectNoCutGoesUnnoticed(MakeBuilder(VmdkBuilder::Layout::kDirectoryFirst).Build(), 1);
}

TEST(VmdkTruncation, OfWhatQemuImgWroteIsNoticedAtEveryByte) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const testing::TempDir folder;
  testing::FakeRandom random(2);
  std::string guest(200 * 1024, '\0');
  random.Fill(std::as_writable_bytes(std::span(guest)));
  ASSERT_TRUE(sys::WriteWholeFile(folder / "disk.raw", guest).has_value());
  const auto made =
      testing::RunTool({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o",
                        "subformat=streamOptimized", folder / "disk.raw", folder / "disk.vmdk"});
  ASSERT_TRUE(made.ok()) << made.error_output;
  const auto whole = sys::ReadWholeFile(folder / "disk.vmdk", 1 << 20);
  ASSERT_TRUE(whole.has_value());
  const auto bytes = AsBytes(*whole);
  // Each sector boundary, and odd bytes between them.
  ExpectNoCutGoesUnnoticed(Bytes(bytes.begin(), bytes.end()), 128);
}

TEST(VmdkTruncation, OfQemuImgsEmptyDiskIsNoticed) {
  VMFERRY_NEEDS_TOOL("qemu-img");
  const testing::TempDir folder;
  const auto made = testing::RunTool({"qemu-img", "create", "-q", "-f", "vmdk", "-o",
                                      "subformat=streamOptimized", folder / "disk.vmdk", "64M"});
  ASSERT_TRUE(made.ok()) << made.error_output;
  const auto whole = sys::ReadWholeFile(folder / "disk.vmdk", 1 << 20);
  ASSERT_TRUE(whole.has_value());
  const auto bytes = AsBytes(*whole);
  ExpectNoCutGoesUnnoticed(Bytes(bytes.begin(), bytes.end()), 128);
}

TEST(VmdkCorruption, RandomDamageNeverReadsWrongBytesSilentlyProperty) {
  // Not every flipped bit can be noticed (a grain table entry may turn into a hole), but none may
  // crash, and no grain may come back with other bytes: its checksum and marker see to that.
  for (const auto layout : {VmdkBuilder::Layout::kDirectoryFirst, VmdkBuilder::Layout::kFooter}) {
    const VmdkBuilder builder = MakeBuilder(layout);
    const Bytes good = builder.Build();
    Bytes guest(builder.capacity_sectors * 512);
    const auto disk = Open(MakeMemorySource(good), NoCompanions());
    ASSERT_TRUE(disk.has_value() && (*disk)->Read(0, guest).has_value());
    const Bytes zeros(4096);
    Bytes grain(4096);
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      SCOPED_TRACE(seed);
      testing::FakeRandom random(seed);
      Bytes bad = good;
      bad[random.Below(bad.size())] ^= static_cast<std::byte>(1U << random.Below(8));
      const auto opened = Open(MakeMemorySource(std::move(bad)), NoCompanions());
      if (!opened || (*opened)->SizeBytes() != guest.size()) continue;
      for (std::uint64_t offset = 0; offset + 4096 <= guest.size(); offset += 4096) {
        if (!(*opened)->Read(offset, grain).has_value()) continue;
        const bool same = std::memcmp(grain.data(), guest.data() + offset, grain.size()) == 0;
        const bool zero = std::memcmp(grain.data(), zeros.data(), grain.size()) == 0;
        ASSERT_TRUE(same || zero) << "at " << offset;
      }
    }
  }
}

}  // namespace
}  // namespace vmferry::image::vmdk
