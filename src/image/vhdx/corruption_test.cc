// SPDX-License-Identifier: Apache-2.0
//
// Every field of every structure, set to what it must not be, is refused with the right reason; a
// file that ends before its blocks do is never taken for a whole one.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/units.h"
#include "image/vhdx/parent_locator.h"
#include "image/vhdx/vhdx_image.h"
#include "testing/fake_random.h"
#include "testing/vhdx_builder.h"
#include "testing/vmdk_builder.h"

namespace vmferry::image::vhdx {
namespace {

using testing::PokeU16;
using testing::PokeU32;
using testing::PokeU64;
using testing::SumVhdx;
using testing::VhdxBuilder;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

/// Any parent will do: a disk of zeros.
class AnyParent final : public Companions {
 public:
  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view, NameStyle) override {
    return Error(ErrorCode::kNotFound, "image.chain.missing", "there are no extents");
  }
  Result<ParentDisk> OpenParent(const ParentRequest&) override {
    VMFERRY_ASSIGN_OR_RETURN(auto disk,
                             Open(MakeMemorySource(VhdxBuilder().Build()), NoCompanions()));
    return ParentDisk{std::move(disk), "parent.vhdx"};
  }
};

/// The reason why the disk cannot be opened or read in full; "" when it can.
std::string Refusal(Bytes bytes) {
  AnyParent parent;
  const auto disk = Open(MakeMemorySource(std::move(bytes)), parent);
  if (!disk) return disk.error().reason();
  Bytes guest(std::min((*disk)->SizeBytes(), 8 * kMiB));
  const auto read = (*disk)->Read(0, guest);
  return read ? "" : read.error().reason();
}

struct Mutation {
  std::string field;
  std::function<void(Bytes&)> apply;
  std::string reason;  ///< "" where the disk stays good
};

void ExpectRefusals(const Bytes& good, const std::vector<Mutation>& mutations) {
  EXPECT_EQ(Refusal(good), "");
  for (const Mutation& mutation : mutations) {
    Bytes bad = good;
    mutation.apply(bad);
    EXPECT_EQ(Refusal(std::move(bad)), mutation.reason) << mutation.field;
  }
}

/// A number of `count` bytes in a structure with a checksum, of which there are two copies.
Mutation Both(std::string field, std::uint64_t at, std::uint64_t value, std::size_t count,
              std::string reason, std::uint64_t copy_1, std::uint64_t copy_2,
              std::uint64_t length) {
  return {std::move(field),
          [=](Bytes& bytes) {
            for (const std::uint64_t copy : {copy_1, copy_2}) {
              if (count == 2) PokeU16(bytes, copy + at, static_cast<std::uint16_t>(value));
              if (count == 4) PokeU32(bytes, copy + at, static_cast<std::uint32_t>(value));
              if (count == 8) PokeU64(bytes, copy + at, value);
              SumVhdx(bytes, copy, length);
            }
          },
          std::move(reason)};
}
Mutation Header(std::string field, std::uint64_t at, std::uint64_t value, std::size_t count,
                std::string reason) {
  return Both(std::move(field), at, value, count, std::move(reason), testing::kVhdxHeader1,
              testing::kVhdxHeader2, 4096);
}
Mutation Regions(std::string field, std::uint64_t at, std::uint64_t value, std::size_t count,
                 std::string reason) {
  return Both(std::move(field), at, value, count, std::move(reason), testing::kVhdxRegions1,
              testing::kVhdxRegions2, 64 * kKiB);
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

VhdxBuilder MakeBuilder() {
  VhdxBuilder builder;
  testing::FakeRandom random(1);
  for (const std::uint64_t block : {0U, 2U}) {
    builder.blocks[block].bytes.resize(kMiB);
    random.Fill(builder.blocks[block].bytes);
  }
  return builder;
}

TEST(VhdxCorruption, Headers) {
  const Bytes good = MakeBuilder().Build();
  const std::uint64_t size = good.size();
  ExpectRefusals(good,
                 {
                     U64("magic", 0, 0, "vhdx.header.magic"),
                     {"both checksums",
                      [](Bytes& bytes) {
                        PokeU32(bytes, testing::kVhdxHeader1 + 4, 1);
                        PokeU32(bytes, testing::kVhdxHeader2 + 4, 1);
                      },
                      "vhdx.header.damaged"},
                     Header("signature", 0, 0, 4, "vhdx.header.damaged"),
                     Header("same sequence numbers", 8, 5, 8, ""),
                     {"same sequence numbers, other content",
                      [](Bytes& bytes) {
                        PokeU64(bytes, testing::kVhdxHeader1 + 8, 7);
                        PokeU64(bytes, testing::kVhdxHeader1 + 16, 7);
                        SumVhdx(bytes, testing::kVhdxHeader1, 4096);
                      },
                      "vhdx.header.ambiguous"},
                     Header("log version without a log", 64, 1, 2, ""),
                     Header("version 0", 66, 0, 2, "vhdx.header.version"),
                     Header("version 2", 66, 2, 2, "vhdx.header.version"),
                     Header("log length 0 without a log", 68, 0, 4, ""),
                     Header("log length odd", 68, 4096, 4, "vhdx.log.place"),
                     Header("log length past the end", 68, 0x80000000, 4, "vhdx.log.place"),
                     Header("log over the metadata", 68, 2 * kMiB, 4, "vhdx.region.overlap"),
                     Header("log offset 0", 72, 0, 8, "vhdx.log.place"),
                     Header("log offset odd", 72, kMiB + 4096, 8, "vhdx.log.place"),
                     Header("log offset at the end", 72, size, 8, "vhdx.log.place"),
                     Header("log offset all ones", 72, kAllOnes - kMiB + 1, 8, "vhdx.log.place"),
                     {"log GUID, but no log",
                      [](Bytes& bytes) {
                        PokeU64(bytes, testing::kVhdxHeader2 + 48, 1);
                        PokeU32(bytes, testing::kVhdxHeader2 + 68, 0);
                        SumVhdx(bytes, testing::kVhdxHeader2, 4096);
                      },
                      "vhdx.log.place"},
                     {"log GUID and log version",
                      [](Bytes& bytes) {
                        PokeU64(bytes, testing::kVhdxHeader2 + 48, 1);
                        PokeU16(bytes, testing::kVhdxHeader2 + 64, 1);
                        SumVhdx(bytes, testing::kVhdxHeader2, 4096);
                      },
                      "vhdx.log.version"},
                 });
}

TEST(VhdxCorruption, RegionTables) {
  const VhdxBuilder builder = MakeBuilder();
  const Bytes good = builder.Build();
  const auto bat = builder.places.bat;
  ExpectRefusals(good,
                 {
                     {"both checksums",
                      [](Bytes& bytes) {
                        PokeU32(bytes, testing::kVhdxRegions1 + 4, 1);
                        PokeU32(bytes, testing::kVhdxRegions2 + 4, 1);
                      },
                      "vhdx.region.damaged"},
                     Regions("signature", 0, 0, 4, "vhdx.region.damaged"),
                     Regions("no entries", 8, 0, 4, "vhdx.region.missing"),
                     Regions("one entry", 8, 1, 4, "vhdx.region.missing"),
                     Regions("an empty entry", 8, 3, 4, "vhdx.region.place"),
                     Regions("2048 entries", 8, 2048, 4, "vhdx.region.count"),
                     Regions("entries all ones", 8, kAllOnes, 4, "vhdx.region.count"),
                     Regions("unknown required region", 16, 5, 8, "vhdx.region.unknown"),
                     Regions("offset 0", 32, 0, 8, "vhdx.region.place"),
                     Regions("offset odd", 32, bat + 512, 8, "vhdx.region.place"),
                     Regions("offset at the end", 32, good.size(), 8, "vhdx.region.place"),
                     Regions("offset wraps", 32, kAllOnes - kMiB + 1, 8, "vhdx.region.place"),
                     Regions("over the log", 32, kMiB, 8, "vhdx.region.overlap"),
                     Regions("over the metadata", 32, 2 * kMiB, 8, "vhdx.region.overlap"),
                     Regions("length 0", 40, 0, 4, "vhdx.region.place"),
                     Regions("length odd", 40, 4096, 4, "vhdx.region.place"),
                     Regions("length past the end", 40, 0xfff00000, 4, "vhdx.region.place"),
                     Regions("over a block", 40, 2 * kMiB, 4, "vhdx.block.overlap"),
                     {"the BAT twice",
                      [](Bytes& bytes) {
                        for (const auto at : {testing::kVhdxRegions1, testing::kVhdxRegions2}) {
                          std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at + 16), 16,
                                      bytes.begin() + static_cast<std::ptrdiff_t>(at + 48));
                          SumVhdx(bytes, at, 64 * kKiB);
                        }
                      },
                      "vhdx.region.twice"},
                 });
}

TEST(VhdxCorruption, Metadata) {
  const VhdxBuilder builder = MakeBuilder();
  const Bytes good = builder.Build();
  const auto table = builder.places.metadata;
  const auto item = [&](const char* guid) { return builder.places.items.at(guid); };
  const auto parameters = item("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
  const auto size = item("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
  const auto logical = item("8141bf1d-a96f-4709-ba47-f233a8faab5f");
  const auto physical = item("cda348c7-445d-4471-9cc9-e9885251c556");
  ExpectRefusals(
      good,
      {
          U64("signature", table, 0, "vhdx.metadata.signature"),
          U16("no items", table + 10, 0, "vhdx.metadata.missing"),
          U16("without the last item", table + 10, 4, ""),
          U16("without the logical sector size", table + 10, 3, "vhdx.metadata.missing"),
          U16("2048 items", table + 10, 2048, "vhdx.metadata.count"),
          U64("unknown required item", table + 32, 5, "vhdx.metadata.unknown"),
          U32("offset in the table", table + 48, 65535, "vhdx.metadata.place"),
          U32("offset all ones", table + 48, ~0U, "vhdx.metadata.place"),
          U32("offset at the end", table + 48, kMiB, "vhdx.metadata.place"),
          U32("overlap", table + 48, 65536 + 8, "vhdx.metadata.overlap"),
          U32("length of the parameters", table + 52, 4, "vhdx.metadata.length"),
          U32("length all ones", table + 52, ~0U, "vhdx.metadata.place"),
          U32("a user's required item", table + 56, 5, "vhdx.metadata.unknown"),
          U32("block size 0", parameters, 0, "vhdx.metadata.block_size"),
          U32("block size 512 KiB", parameters, 512 * kKiB, "vhdx.metadata.block_size"),
          U32("block size 3 MiB", parameters, 3 * kMiB, "vhdx.metadata.block_size"),
          U32("block size 512 MiB", parameters, 512 * kMiB, "vhdx.metadata.block_size"),
          U32("block size of 256 MiB is cut off", parameters, 256 * kMiB, "vhdx.block.truncated"),
          U32("fixed", parameters + 4, 1, ""),
          U32("a parent, but no locator", parameters + 4, 2, "vhdx.metadata.missing"),
          U32("unknown flag", parameters + 4, 4, "vhdx.metadata.flags"),
          U32("unknown flags", parameters + 4, ~0U, "vhdx.metadata.flags"),
          U64("size of half a sector", size, 256, "vhdx.metadata.disk_size"),
          U64("size 64 TiB", size, 64 * kTiB, "vhdx.bat.too_short"),
          U64("size 64 TiB and a sector", size, 64 * kTiB + 512, "vhdx.metadata.disk_size"),
          U64("size all ones", size, kAllOnes - 511, "vhdx.metadata.disk_size"),
          U64("size 0", size, 0, ""),
          U32("logical sector size 0", logical, 0, "vhdx.metadata.sector_size"),
          U32("logical sector size 1024", logical, 1024, "vhdx.metadata.sector_size"),
          U32("logical sector size 4096", logical, 4096, ""),
          U32("physical sector size 520", physical, 520, "vhdx.metadata.sector_size"),
      });
}

TEST(VhdxCorruption, BlockTable) {
  const VhdxBuilder builder = MakeBuilder();
  const Bytes good = builder.Build();
  const auto entry = builder.BatEntryOffset(0);
  const auto place = [](std::uint64_t mib, std::uint64_t state) { return mib << 20 | state; };
  const std::uint64_t end = good.size() / kMiB;
  std::vector<Mutation> mutations = {
      U64("place 0", entry, place(0, 6), "vhdx.block.place"),
      U64("in the log", entry, place(1, 6), "vhdx.block.overlap"),
      U64("in the metadata", entry, place(2, 6), "vhdx.block.overlap"),
      U64("in the BAT", entry, place(3, 6), "vhdx.block.overlap"),
      U64("in block 2", entry, place(end - 1, 6), "vhdx.block.overlap"),
      U64("at the end", entry, place(end, 6), "vhdx.block.truncated"),
      U64("behind the end", entry, place(1 << 20, 6), "vhdx.block.truncated"),
      U64("all ones but the state", entry, kAllOnes - 1, "vhdx.block.place"),
      U64("all ones", entry, kAllOnes, "vhdx.block.state"),
      U64("reserved bits", entry, place(4, 6) | 8, ""),
      U64("partially present without a parent", entry, place(4, 7), "vhdx.block.state"),
  };
  for (const std::uint64_t state : {0U, 1U, 2U, 3U, 5U}) {
    mutations.push_back(U64("a place kept for later", entry, place(9, state), ""));
  }
  mutations.push_back(U64("state 4", entry, 4, "vhdx.block.state"));
  mutations.push_back(
      U64("bitmap of no differencing disk", builder.BitmapEntryOffset(0), place(9, 6), ""));
  ExpectRefusals(good, mutations);
}

VhdxBuilder MakeChild() {
  VhdxBuilder builder = MakeBuilder();
  builder.parameter_flags = 2;
  builder.locator = {{"parent_linkage", "{11111111-2222-3333-4444-555555555555}"},
                     {"relative_path", "parent.vhdx"}};
  builder.blocks[2].state = VhdxBuilder::kPartial;
  builder.blocks[2].sectors = {0, 5, 2047};
  return builder;
}

TEST(VhdxCorruption, BitmapsAndLocator) {
  const VhdxBuilder builder = MakeChild();
  const Bytes good = builder.Build();
  const auto bitmap = builder.BitmapEntryOffset(0);
  const auto locator = builder.places.items.at("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");
  const auto end = (good.size() / kMiB) << 20;
  std::vector<Mutation> mutations = {
      U64("no bitmap", bitmap, 0, "vhdx.bitmap.missing"),
      U64("bitmap at 0", bitmap, 6, "vhdx.block.place"),
      U64("bitmap at the end", bitmap, end | 6, "vhdx.block.truncated"),
      U64("bitmap in block 0", bitmap, 4 << 20 | 6, "vhdx.block.overlap"),
      U64("locator type", locator, 0, "vhdx.parent_locator.type"),
      U16("pairs", locator + 18, 0xffff, "vhdx.parent_locator.truncated"),
      U16("no pairs", locator + 18, 0, "vhdx.parent_locator.linkage"),
      U32("key in the header", locator + 20, 0, "vhdx.parent_locator.place"),
      U32("key behind the end", locator + 20, ~0U, "vhdx.parent_locator.place"),
      U32("value behind the end", locator + 24, 4096, "vhdx.parent_locator.place"),
      U16("key length", locator + 28, 0xffff, "vhdx.parent_locator.place"),
      U16("key of half a character", locator + 28, 3, "vhdx.parent_locator.text"),
      U16("value length", locator + 30, 0xfffe, "vhdx.parent_locator.place"),
      U16("value cut short", locator + 30, 20, "vhdx.parent_locator.linkage"),
      U16("value empty", locator + 30, 0, "vhdx.parent_locator.linkage"),
      U16("half a surrogate pair", locator + 20 + 24, 0xd800, "vhdx.parent_locator.text"),
  };
  for (const std::uint64_t state : {1U, 2U, 3U, 4U, 5U, 7U}) {
    mutations.push_back(U64("bitmap state", bitmap, 6 << 20 | state, "vhdx.bitmap.state"));
  }
  ExpectRefusals(good, mutations);
}

TEST(VhdxTruncation, IsNoticedWhereverTheFileIsCut) {
  for (const bool child : {false, true}) {
    const Bytes whole = child ? MakeChild().Build() : MakeBuilder().Build();
    for (std::uint64_t size = 0; size < whole.size(); size += 64 * kKiB - 1) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_NE(Refusal(std::move(cut)), "") << size;
    }
    EXPECT_NE(Refusal(Bytes(whole.begin(), whole.end() - 1)), "");
  }
}

TEST(VhdxCorruption, RandomDamageOfTheFirstSectorsNeverCrashesProperty) {
  const VhdxBuilder builder = MakeChild();
  const Bytes good = builder.Build();
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    testing::FakeRandom random(seed);
    Bytes bad = good;
    for (const std::uint64_t at : {builder.places.metadata, builder.places.metadata + 64 * kKiB,
                                   builder.places.bat, builder.BitmapEntryOffset(0)}) {
      bad[at + random.Below(256)] ^= static_cast<std::byte>(1U << random.Below(8));
    }
    Refusal(std::move(bad));
  }
}

TEST(VhdxParentLocator, HasFewPairs) {
  // Each pair may name the same bytes: their number bounds what is read.
  const std::vector<std::uint8_t> guid = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
                                          0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};
  std::vector<std::byte> bytes(20 + 12 * 1000);
  std::transform(guid.begin(), guid.end(), bytes.begin(),
                 [](std::uint8_t value) { return std::byte{value}; });
  bytes[18] = std::byte{1000 % 256};
  bytes[19] = std::byte{1000 / 256};
  const auto locator = ParseParentLocator(bytes);
  ASSERT_FALSE(locator);
  EXPECT_EQ(locator.error().reason(), "vhdx.parent_locator.count");
}

}  // namespace
}  // namespace vmferry::image::vhdx
