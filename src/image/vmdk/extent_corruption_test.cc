// SPDX-License-Identifier: Apache-2.0
//
// Every field of the structures of hosted sparse, COWD and seSparse extents, set to what it must
// not be, is refused with the right reason; extents that end before their end are never taken for
// whole ones.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "base/byte_reader.h"
#include "image/companions.h"
#include "image/vmdk/vmdk_image.h"
#include "testing/esx_extent_builder.h"
#include "testing/fake_random.h"
#include "testing/vmdk_builder.h"

namespace vmferry::image::vmdk {
namespace {

using testing::CowBuilder;
using testing::DescriptorText;
using testing::PokeU32;
using testing::PokeU64;
using testing::SeSparseBuilder;
using testing::VmdkBuilder;
using Bytes = std::vector<std::byte>;

/// Hands out one extent, by whatever name.
class OneExtent final : public Companions {
 public:
  explicit OneExtent(Bytes bytes) : bytes_(std::move(bytes)) {}

  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view, NameStyle) override {
    return MakeMemorySource(bytes_);
  }
  Result<ParentDisk> OpenParent(const ParentRequest& request) override {
    return NoCompanions().OpenParent(request);
  }

 private:
  const Bytes bytes_;
};

Result<std::unique_ptr<DiskImage>> OpenExtentIn(const std::string& line, Bytes bytes) {
  OneExtent companions(std::move(bytes));
  DescriptorText text;
  text.create_type = "custom";
  text.extents = {line};
  const std::string spelled = text.Text();
  const auto descriptor = AsBytes(spelled);
  return Open(MakeMemorySource(Bytes(descriptor.begin(), descriptor.end())), companions);
}

std::string RefusalOf(const Result<std::unique_ptr<DiskImage>>& disk) {
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

void ExpectRefusals(const std::string& line, const Bytes& good,
                    const std::vector<Mutation>& mutations) {
  EXPECT_EQ(RefusalOf(OpenExtentIn(line, good)), "");
  for (const Mutation& mutation : mutations) {
    Bytes bad = good;
    mutation.apply(bad);
    EXPECT_EQ(RefusalOf(OpenExtentIn(line, std::move(bad))), mutation.reason) << mutation.field;
  }
}

Mutation U32(std::string field, std::uint64_t at, std::uint32_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU32(bytes, at, value); }, std::move(reason)};
}
Mutation U64(std::string field, std::uint64_t at, std::uint64_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU64(bytes, at, value); }, std::move(reason)};
}

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

Bytes RandomBytes(std::uint64_t seed, std::size_t size) {
  testing::FakeRandom random(seed);
  Bytes bytes(size);
  random.Fill(bytes);
  return bytes;
}

VmdkBuilder MakeSparse() {
  VmdkBuilder builder;
  builder.layout = VmdkBuilder::Layout::kDirectoryFirst;
  builder.flags = 7;
  builder.version = 1;
  builder.grain_sectors = 8;
  builder.capacity_sectors = 8 * 600 + 3;  // two tables, the last grain is short
  for (const std::uint64_t grain : {0U, 1U, 5U, 511U, 512U, 600U}) {
    builder.grains[grain] = RandomBytes(grain + 1, 4096);
  }
  builder.zero_grains = {2};
  return builder;
}

TEST(VmdkCorruption, HostedSparseExtent) {
  const VmdkBuilder builder = MakeSparse();
  const Bytes good = builder.Build();
  const auto file_sectors = static_cast<std::uint32_t>(good.size() / 512);
  const auto& places = builder.places;
  const std::string line = "RW 4803 SPARSE \"x.vmdk\"";
  const auto table = static_cast<std::uint32_t>(places.tables.at(1) / 512);
  ExpectRefusals(
      line, good,
      {
          U32("magic", 0, 0, "vmdk.extent.layout"),
          U32("version 0", 4, 0, "vmdk.header.version"),
          U32("version 2", 4, 2, ""),
          U32("version 3", 4, 3, ""),
          U32("version 4", 4, 4, "vmdk.header.version"),
          U32("flags: unknown", 8, 7 | 8, "vmdk.header.flags"),
          U32("flags: compressed only", 8, 7 | 1U << 16, "vmdk.header.flags"),
          U32("flags: compressed", 8, 7 | 3U << 16, "vmdk.header.compression"),
          U32("flags: no zero grains", 8, 3, "vmdk.grain_table.range"),
          U32("flags: no redundant directory", 8, 5, ""),
          U64("capacity 0", 12, 0, "vmdk.header.capacity"),
          U64("capacity all ones", 12, kAllOnes, "vmdk.header.capacity"),
          U64("capacity smaller", 12, 4802, "vmdk.extent.capacity"),
          U64("capacity less than a grain larger", 12, 4808, ""),
          U64("capacity a grain larger", 12, 4811, "vmdk.extent.capacity"),
          U64("grain size 0", 20, 0, "vmdk.header.grain_size"),
          U64("grain size 4", 20, 4, "vmdk.header.grain_size"),
          U64("grain size no power of two", 20, 24, "vmdk.header.grain_size"),
          U64("grain size beyond the limit", 20, 0x400000, "vmdk.header.grain_size"),
          U64("grain size of another disk", 20, 0x200000, "vmdk.grain.truncated"),
          U64("descriptor outside", 28, file_sectors, "vmdk.header.descriptor"),
          U64("descriptor offset overflows", 28, kAllOnes, "vmdk.header.descriptor"),
          U32("entries per table", 44, 256, "vmdk.header.table_size"),
          U64("redundant directory outside", 48, kAllOnes, ""),
          U64("directory at the header", 56, 0, "vmdk.header.directory"),
          U64("directory in the descriptor", 56, 1, "vmdk.grain_directory.truncated"),
          U64("directory outside", 56, file_sectors, "vmdk.grain_directory.truncated"),
          U64("directory offset overflows", 56, kAllOnes - 1, "vmdk.grain_directory.truncated"),
          U64("directory at the end", 56, kAllOnes, "vmdk.footer.missing"),
          U64("overhead", 64, kAllOnes, ""),
          U32("line ends", 73, 0x0a0d0a20, "vmdk.header.newlines"),
          U32("directory: header", places.directory, 1, "vmdk.grain_directory.range"),
          U32("directory: end", places.directory, file_sectors - 3, "vmdk.grain_directory.range"),
          U32("directory: all ones", places.directory, ~0U, "vmdk.grain_directory.range"),
          U32("directory: same table twice", places.directory, table,
              "vmdk.grain_directory.overlap"),
          U32("directory: tables overlap", places.directory, table - 3,
              "vmdk.grain_directory.overlap"),
          U32("directory: no table", places.directory, 0, ""),
          U32("table: descriptor", places.tables.at(0), 2, "vmdk.grain_table.range"),
          U32("table: end", places.tables.at(0), file_sectors, "vmdk.grain_table.range"),
          U32("table: all ones", places.tables.at(0), ~0U, "vmdk.grain_table.range"),
          U32("table: last sectors", places.tables.at(0), file_sectors - 7, "vmdk.grain.truncated"),
          U32("table: last grain needs only three", places.tables.at(1) + 88 * 4, file_sectors - 3,
              ""),
          U32("table: last grain cut", places.tables.at(1) + 88 * 4, file_sectors - 2,
              "vmdk.grain.truncated"),
          U32("table: behind the end of the disk", places.tables.at(1) + 89 * 4, ~0U, ""),
      });
}

CowBuilder MakeCow() {
  CowBuilder builder;
  builder.capacity_sectors = 5000;
  for (const std::uint64_t grain : {0U, 1U, 2U, 77U, 4095U, 4096U, 4999U}) {
    builder.grains[grain] = RandomBytes(grain + 1, 512);
  }
  return builder;
}

TEST(VmdkCorruption, CowExtent) {
  const CowBuilder builder = MakeCow();
  const Bytes good = builder.Build();
  const auto file_sectors = static_cast<std::uint32_t>(good.size() / 512);
  const auto& places = builder.places;
  const std::string line = "RW 5000 VMFSSPARSE \"x-delta.vmdk\"";
  ExpectRefusals(
      line, good,
      {
          U32("magic", 0, 0, "vmdk.extent.layout"),
          U32("version 0", 4, 0, "vmdk.cow.version"),
          U32("version 2", 4, 2, "vmdk.cow.version"),
          U32("flags: inconsistent", 8, 7, ""),
          U32("capacity 0", 12, 0, "vmdk.cow.capacity"),
          U32("capacity of another disk", 12, 5001, "vmdk.extent.capacity"),
          U32("grain size 0", 16, 0, "vmdk.cow.grain_size"),
          U32("grain size 3", 16, 3, "vmdk.cow.grain_size"),
          U32("grain size beyond the limit", 16, 0x400000, "vmdk.cow.grain_size"),
          U32("directory at the header", 20, 3, "vmdk.cow.directory"),
          U32("directory outside", 20, file_sectors, "vmdk.grain_directory.truncated"),
          U32("directory: too few entries", 24, 1, "vmdk.cow.directory"),
          U32("directory: just enough", 24, 2, ""),
          U32("free sector", 28, ~0U, ""),
          U32("unclean shutdown", 1648, 1, ""),
          U32("entry: header", places.directory, 3, "vmdk.grain_directory.range"),
          U32("entry: end", places.directory, file_sectors - 31, "vmdk.grain_directory.range"),
          U32("entry: tables overlap", places.directory,
              static_cast<std::uint32_t>(places.tables.at(1) / 512) - 31,
              "vmdk.grain_directory.overlap"),
          U32("table: header", places.tables.at(0), 3, "vmdk.grain_table.range"),
          U32("table: 1 is no zero grain", places.tables.at(0), 1, "vmdk.grain_table.range"),
          U32("table: end", places.tables.at(0), file_sectors, "vmdk.grain_table.range"),
          U32("table: last sector", places.tables.at(0), file_sectors - 1, ""),
          {"header cut", [](Bytes& bytes) { bytes.resize(2047); }, "vmdk.cow.truncated"},
          {"no header", [](Bytes& bytes) { bytes.resize(3); }, "vmdk.extent.layout"},
      });
}

SeSparseBuilder MakeSeSparse() {
  SeSparseBuilder builder;
  builder.capacity_sectors = 5000 * 8 + 3;
  for (const std::uint64_t grain : {0U, 1U, 2U, 77U, 4095U, 4096U, 5000U}) {
    builder.grains[grain] = RandomBytes(grain + 1, 4096);
  }
  builder.zero_grains = {5};
  builder.unmapped_grains = {6};
  return builder;
}

TEST(VmdkCorruption, SeSparseExtent) {
  const SeSparseBuilder builder = MakeSeSparse();
  const Bytes good = builder.Build();
  const std::uint64_t file_sectors = good.size() / 512;
  const auto& places = builder.places;
  const std::uint64_t directory = places.directory;
  const std::uint64_t table = places.tables.at(0);
  const std::uint64_t kind = std::uint64_t{1} << 60;
  const std::string line = "RW 40003 SESPARSE \"x-sesparse.vmdk\"";
  ExpectRefusals(
      line, good,
      {
          U64("magic", 0, 0, "vmdk.extent.layout"),
          U64("version", 8, 0x0000000200000000, "vmdk.se_sparse.version"),
          U64("capacity 0", 16, 0, "vmdk.se_sparse.capacity"),
          U64("capacity all ones", 16, kAllOnes, "vmdk.se_sparse.capacity"),
          U64("capacity of another disk", 16, 40002, "vmdk.extent.capacity"),
          U64("grain size", 24, 16, "vmdk.se_sparse.grain_size"),
          U64("table size", 32, 128, "vmdk.se_sparse.grain_size"),
          U64("flags", 40, 1, "vmdk.se_sparse.flags"),
          U64("reserved", 48, 1, "vmdk.se_sparse.reserved"),
          U64("reserved, the last", 72, 1, "vmdk.se_sparse.reserved"),
          U64("volatile header at the header", 80, 0, "vmdk.se_sparse.layout"),
          U64("volatile header outside", 80, file_sectors, "vmdk.se_sparse.volatile_header"),
          U64("volatile header elsewhere", 80, 2, "vmdk.se_sparse.volatile_header"),
          U64("volatile header of no sectors", 88, 0, "vmdk.se_sparse.layout"),
          U64("directory at the header", 128, 0, "vmdk.se_sparse.layout"),
          U64("directory outside", 128, file_sectors, "vmdk.grain_directory.truncated"),
          U64("directory overflows", 128, kAllOnes, "vmdk.se_sparse.layout"),
          U64("directory of no sectors", 136, 0, "vmdk.se_sparse.layout"),
          U64("tables at the header", 144, 0, "vmdk.se_sparse.layout"),
          U64("tables outside", 144, file_sectors, "vmdk.grain_directory.range"),
          U64("tables far outside", 144, kAllOnes / 2, "vmdk.grain_directory.range"),
          U64("grains at the header", 192, 0, "vmdk.se_sparse.layout"),
          U64("grains outside", 192, file_sectors, "vmdk.grain_table.range"),
          U64("grains far outside", 192, kAllOnes / 2, "vmdk.grain_table.range"),
          U64("volatile magic", places.volatile_header, 0, "vmdk.se_sparse.volatile_header"),
          U64("journal to be replayed", places.volatile_header + 24, 1, "vmdk.se_sparse.journal"),
          U64("entry: no kind", directory, 5, "vmdk.grain_directory.entry"),
          U64("entry: another kind", directory, 2 * kind, "vmdk.grain_directory.entry"),
          U64("entry: too many tables", directory, kind | 0xffffffff, "vmdk.grain_directory.entry"),
          U64("entry: outside", directory, kind | 1000, "vmdk.grain_directory.range"),
          U64("entry: same table twice", directory, kind | 1, "vmdk.grain_directory.overlap"),
          U64("entry: no table", directory, 0, ""),
          U64("table: no kind", table, 5, "vmdk.grain_table.entry"),
          U64("table: unmapped", table, kind | 5, ""),
          U64("table: kind 4", table, 4 * kind, "vmdk.grain_table.entry"),
          U64("table: kind 15", table, kAllOnes, "vmdk.grain_table.entry"),
          U64("table: outside", table, 3 * kind | std::uint64_t{7} << 48, "vmdk.grain_table.range"),
          U64("table: far outside", table, 3 * kind | 0xffffffffffff, "vmdk.grain_table.range"),
          {"header cut", [](Bytes& bytes) { bytes.resize(511); }, "vmdk.se_sparse.truncated"},
      });
}

TEST(VmdkTruncation, OfExtentsIsNoticedAtEveryByte) {
  const std::vector<std::pair<std::string, Bytes>> extents = {
      {"RW 4803 SPARSE \"x\"", MakeSparse().Build()},
      {"RW 5000 VMFSSPARSE \"x\"", MakeCow().Build()},
      {"RW 40003 SESPARSE \"x\"", MakeSeSparse().Build()}};
  for (const auto& extent : extents) {
    const Bytes& whole = extent.second;
    // The last five sectors of the last grain lie behind the end of the disk.
    const std::size_t needed = whole.size() - (extent.first.starts_with("RW 5000") ? 0 : 5 * 512);
    const auto disk = OpenExtentIn(extent.first, whole);
    ASSERT_TRUE(disk.has_value());
    for (std::size_t size = 0; size < whole.size(); size += 256) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const auto opened = OpenExtentIn(extent.first, std::move(cut));
      ASSERT_EQ(opened.has_value(), size >= needed) << extent.first << " cut at byte " << size;
    }
  }
}

TEST(VmdkCorruption, RandomDamageOfExtentsNeverCrashesProperty) {
  const std::vector<std::pair<std::string, Bytes>> extents = {
      {"RW 4803 SPARSE \"x\"", MakeSparse().Build()},
      {"RW 5000 VMFSSPARSE \"x\"", MakeCow().Build()}};
  for (const auto& extent : extents) {
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      SCOPED_TRACE(seed);
      testing::FakeRandom random(seed);
      Bytes bad = extent.second;
      for (int i = 0; i < 8; ++i) {
        // Most of it where the structures are.
        const std::size_t area = random.Below(2) == 0 ? bad.size() : std::size_t{40} * 512;
        bad[random.Below(std::min(area, bad.size()))] ^= static_cast<std::byte>(random.Below(256));
      }
      static_cast<void>(RefusalOf(OpenExtentIn(extent.first, std::move(bad))));
    }
  }
}

}  // namespace
}  // namespace vmferry::image::vmdk
