// SPDX-License-Identifier: Apache-2.0
//
// Every field of every structure, set to what it must not be, is refused with the right reason.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "image/companions.h"
#include "image/qcow2/header.h"
#include "image/qcow2/qcow2_image.h"
#include "testing/fake_random.h"
#include "testing/qcow2_builder.h"

namespace vmferry::image::qcow2 {
namespace {

using testing::PeekU64Be;
using testing::PokeU32Be;
using testing::PokeU64Be;
using testing::Qcow2Builder;
using Bytes = std::vector<std::byte>;
using Kind = Qcow2Builder::Kind;

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};
constexpr std::uint64_t kCluster = 4096;

Bytes Text(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>("so much depends upon "[(i + i / 90 * seed) % 21]);
  }
  return bytes;
}

/// 4 MiB and a sector with clusters of 4 KiB: three L2 tables, the last cluster is short.
Qcow2Builder MakeBuilder(std::uint64_t incompatible = 0) {
  Qcow2Builder builder;
  builder.size_bytes = 2 * 512 * kCluster + 512;
  builder.incompatible = incompatible;
  testing::FakeRandom random(1);
  for (const std::uint64_t index : {0U, 1U, 7U, 511U, 512U, 1024U}) {
    builder.clusters[index].data.resize(kCluster);
    random.Fill(builder.clusters[index].data);
  }
  for (const std::uint64_t index : {2U, 3U, 4U, 600U}) {
    builder.clusters[index] = {.kind = Kind::kCompressed, .data = Text(kCluster, index)};
  }
  builder.clusters[9] = {.kind = Kind::kZero, .data = {}};
  builder.clusters[10] = {.kind = Kind::kZeroPlaced, .data = Text(kCluster, 3)};
  builder.snapshots = {{"1", "before"}, {"2", "after"}};
  return builder;
}

/// The reason why the disk cannot be opened or read in full; "" when it can.
std::string Refusal(Bytes bytes) {
  const auto disk = Open(MakeMemorySource(std::move(bytes)), NoCompanions());
  if (!disk) return disk.error().reason();
  Bytes guest(std::min<std::uint64_t>((*disk)->SizeBytes(), 8 << 20));
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

Mutation U32(std::string field, std::uint64_t at, std::uint64_t value, std::string reason) {
  return {std::move(field),
          [=](Bytes& bytes) { PokeU32Be(bytes, at, static_cast<std::uint32_t>(value)); },
          std::move(reason)};
}
Mutation U64(std::string field, std::uint64_t at, std::uint64_t value, std::string reason) {
  return {std::move(field), [=](Bytes& bytes) { PokeU64Be(bytes, at, value); }, std::move(reason)};
}

TEST(Qcow2Corruption, Header) {
  const Qcow2Builder builder = MakeBuilder();
  const Bytes good = builder.Build();
  const std::uint64_t size = good.size();
  ExpectRefusals(
      good,
      {
          U32("magic", 0, 0, "qcow2.header.magic"),
          U32("version 0", 4, 0, "qcow2.header.version"),
          U32("version 1", 4, 1, "qcow2.header.version"),
          U32("version 4", 4, 4, "qcow2.header.version"),
          U32("version all ones", 4, kAllOnes, "qcow2.header.version"),
          U64("backing name in the header", 8, 8, "qcow2.header.backing"),
          U64("backing name behind the cluster", 8, kCluster + 1, "qcow2.header.backing"),
          U64("backing name all ones", 8, kAllOnes, "qcow2.header.backing"),
          U32("backing name without a place", 16, 1024, ""),
          U32("cluster bits 0", 20, 0, "qcow2.header.cluster_size"),
          U32("cluster bits 8", 20, 8, "qcow2.header.cluster_size"),
          U32("cluster bits 22", 20, 22, "qcow2.header.cluster_size"),
          U32("cluster bits all ones", 20, kAllOnes, "qcow2.header.cluster_size"),
          U32("cluster bits of another disk", 20, 13, "qcow2.header.l1"),
          U64("size 2^63", 24, std::uint64_t{1} << 63, "qcow2.header.size"),
          U64("size all ones", 24, kAllOnes, "qcow2.header.size"),
          U64("size larger than the L1 table maps", 24, std::uint64_t{6} << 20, ""),
          U64("size a byte larger", 24, (std::uint64_t{6} << 20) + 1, "qcow2.header.l1"),
          U64("size 0", 24, 0, ""),
          U32("encryption AES", 32, 1, "qcow2.encrypted"),
          U32("encryption LUKS", 32, 2, "qcow2.encrypted"),
          U32("encryption 3", 32, 3, "qcow2.header.encryption"),
          U32("L1 entries 0", 36, 0, "qcow2.header.l1"),
          U32("L1 entries too few", 36, 2, "qcow2.header.l1"),
          U32("L1 entries more than needed", 36, 8, ""),
          U32("L1 entries past the file", 36, 1 << 22, "qcow2.l1.range"),
          U32("L1 entries beyond the limit", 36, (1 << 22) + 1, "qcow2.header.l1"),
          U32("L1 entries all ones", 36, kAllOnes, "qcow2.header.l1"),
          U64("L1 at 0", 40, 0, "qcow2.header.l1"),
          U64("L1 not aligned", 40, builder.places.l1 + 8, "qcow2.header.l1"),
          U64("L1 at the end", 40, size, "qcow2.l1.range"),
          U64("L1 at an L2 table", 40, builder.places.tables.at(0), "qcow2.cluster.truncated"),
          U64("L1 far away", 40, kAllOnes << 12, "qcow2.l1.range"),
          U64("refcounts at 0", 48, 0, "qcow2.header.refcounts"),
          U64("refcounts not aligned", 48, kCluster + 512, "qcow2.header.refcounts"),
          U64("refcounts far away", 48, kAllOnes << 12, "qcow2.header.refcounts"),
          U64("refcounts outside are not needed", 48, size * kCluster, ""),
          U64("refcounts at an L2 table", 48, builder.places.tables.at(0), "qcow2.l1.overlap"),
          U32("refcount clusters 0", 56, 0, "qcow2.header.refcounts"),
          U32("refcount clusters beyond the limit", 56, 2049, "qcow2.header.refcounts"),
          U32("snapshots beyond the limit", 60, 65537, "qcow2.header.snapshots"),
          U32("snapshots that are not there", 60, 65536, ""),
          U64("snapshots at 0", 64, 0, "qcow2.header.snapshots"),
          U64("snapshots not aligned", 64, builder.places.snapshots + 8, "qcow2.header.snapshots"),
          U64("snapshots outside", 64, kAllOnes << 12, "qcow2.snapshots.range"),
          U64("incompatible: dirty, corrupt", 72, 3, ""),
          U64("incompatible: external data, without a name", 72, 4, "qcow2.external_data"),
          U64("incompatible: compression type of zlib", 72, 8, "qcow2.header.compression"),
          U64("incompatible: extended L2 with small clusters", 72, 16, "qcow2.header.cluster_size"),
          U64("incompatible: bit 5", 72, 32, "qcow2.header.features"),
          U64("incompatible: bit 63", 72, std::uint64_t{1} << 63, "qcow2.header.features"),
          U64("compatible: all", 80, kAllOnes, ""),
          U64("autoclear: all", 88, kAllOnes, ""),
          U32("refcount order 6", 96, 6, ""),
          U32("refcount order 7", 96, 7, "qcow2.header.refcounts"),
          U32("header length 103", 100, 103, "qcow2.header.length"),
          U32("header length 104", 100, 104, ""),
          U32("header length beyond the cluster", 100, kCluster + 1, "qcow2.header.length"),
          U32("header length all ones", 100, kAllOnes, "qcow2.header.length"),
          U32("compression zstd without its bit", 104, 1 << 24, "qcow2.header.compression"),
          U32("compression 2", 104, 2 << 24, "qcow2.header.compression"),
      });
}

TEST(Qcow2Corruption, VersionTwoHasNoFeatures) {
  Qcow2Builder builder = MakeBuilder();
  builder.version = 2;
  builder.clusters.erase(9);
  builder.clusters.erase(10);
  const Bytes good = builder.Build();
  ExpectRefusals(good, {
                           U64("incompatible features are extensions here", 72, 0, ""),
                           U64("zero cluster", builder.places.entries.at(7), 1, "qcow2.l2.entry"),
                       });
}

TEST(Qcow2Corruption, Extensions) {
  Qcow2Builder builder = MakeBuilder();
  builder.extensions = {{0xe2792aca, "raw"}, {0x12345678, "what is this?"}};
  const Bytes good = builder.Build();
  const std::uint64_t at = builder.places.extensions;
  ExpectRefusals(
      good, {
                U32("end at once", at, 0, ""),
                U32("length beyond the cluster", at + 4, kCluster, "qcow2.extension.truncated"),
                U32("length all ones", at + 4, kAllOnes, "qcow2.extension.truncated"),
                U32("bitmaps of another length", at, 0x23852875, "qcow2.extension.length"),
                U32("unknown", at, 0x1234, ""),
            });
}

TEST(Qcow2Corruption, BackingNamesThatAreNoFiles) {
  for (const char* name : {"nbd://localhost/x", "json:{\"driver\":\"raw\"}", "../up.qcow2",
                           "/etc/passwd", "base.qcow2"}) {
    Qcow2Builder builder = MakeBuilder();
    builder.backing_name = name;
    const auto disk = Open(MakeMemorySource(builder.Build()), NoCompanions());
    ASSERT_FALSE(disk.has_value()) << name;
    EXPECT_EQ(disk.error().reason(), "image.chain.outside");
    EXPECT_NE(disk.error().ToString().find(name), std::string::npos) << disk.error().ToString();
  }
  Qcow2Builder builder = MakeBuilder();
  builder.backing_name = "base";
  builder.extensions = {{0xe2792aca, "rbd"}};
  EXPECT_EQ(Refusal(builder.Build()), "qcow2.backing.format");
}

TEST(Qcow2Corruption, TablesAndClusters) {
  const Qcow2Builder builder = MakeBuilder();
  const Bytes good = builder.Build();
  const std::uint64_t size = good.size();
  const auto& places = builder.places;
  const std::uint64_t l1 = places.l1;
  const std::uint64_t plain = places.entries.at(1);
  const std::uint64_t last = places.entries.at(1024);
  const std::uint64_t packed = places.entries.at(3);
  const std::uint64_t entry = PeekU64Be(good, packed);
  constexpr std::uint64_t kPacked = std::uint64_t{1} << 62;
  ExpectRefusals(
      good,
      {
          U64("L1: reserved bits", l1, PeekU64Be(good, l1) | 0x7f000000000001ff, ""),
          U64("L1: not aligned", l1, places.tables.at(0) + 512, "qcow2.l1.alignment"),
          U64("L1: at the L1 table", l1, l1, "qcow2.l1.overlap"),
          U64("L1: at the refcount table", l1, places.refcount_table, "qcow2.l1.overlap"),
          U64("L1: one table twice", l1, places.tables.at(1), "qcow2.l1.overlap"),
          U64("L1: at the end", l1, size, "qcow2.l1.range"),
          U64("L1: far away", l1, 0x00fffffffffff000, "qcow2.l1.range"),
          U64("L1: absent", l1, 0, ""),
          U64("L2: reserved bits", plain, PeekU64Be(good, plain) | 0x3f000000000001fe, ""),
          U64("L2: not copied", plain, places.data.at(1), ""),
          U64("L2: not aligned", plain, places.data.at(1) + 512, "qcow2.l2.alignment"),
          U64("L2: at the end", plain, size, "qcow2.cluster.truncated"),
          U64("L2: far away", plain, 0x00fffffffffff000, "qcow2.cluster.truncated"),
          U64("L2: last cluster at the end", last, size, "qcow2.cluster.truncated"),
          U64("L2: zero", plain, 1, ""),
          U64("L2: absent", plain, 0, ""),
          U64("compressed: in the header", packed, kPacked | 512, "qcow2.cluster.truncated"),
          U64("compressed: at the end", packed, kPacked | size, "qcow2.cluster.truncated"),
          U64("compressed: far away", packed, kPacked | ((std::uint64_t{1} << 58) - 1),
              "qcow2.cluster.truncated"),
          U64("compressed: past the end", packed, kPacked | (size - 512) | std::uint64_t{1} << 58,
              "qcow2.cluster.truncated"),
          U64("compressed: up to the end", packed, kPacked | (size - 512), "qcow2.cluster.inflate"),
          U64("compressed: a sector more is passed over", packed, entry + (std::uint64_t{1} << 58),
              ""),
          U64("compressed: a byte later", packed, entry + 1, "qcow2.cluster.inflate"),
          U64("compressed: data", places.data.at(3), kAllOnes, "qcow2.cluster.inflate"),
      });
}

TEST(Qcow2Corruption, ZstdClusters) {
  Qcow2Builder builder = MakeBuilder(8);
  builder.compression = 1;
  const Bytes good = builder.Build();
  const std::uint64_t at = builder.places.data.at(3);
  ExpectRefusals(good, {
                           U32("magic", at, 0, "qcow2.cluster.inflate"),
                           U32("content larger than a cluster", at + 4, 0xa0000000 | 0x00200000,
                               "qcow2.cluster.inflate"),
                           U32("block", at + 9, kAllOnes, "qcow2.cluster.inflate"),
                       });
}

TEST(Qcow2Corruption, DataThatInflatesToAnotherLength) {
  Qcow2Builder builder = MakeBuilder();
  builder.clusters[3].data.resize(kCluster - 1);
  EXPECT_EQ(Refusal(builder.Build()), "qcow2.cluster.length");
  // A bomb: 16 MiB of zeros.
  builder.clusters[3].data = Bytes(std::size_t{16} << 20);
  EXPECT_EQ(Refusal(builder.Build()), "qcow2.cluster.inflate");
  // Of the last cluster, what the disk has of it is enough.
  builder = MakeBuilder();
  builder.clusters[1024] = {.kind = Kind::kCompressed, .data = Text(512, 1)};
  EXPECT_EQ(Refusal(builder.Build()), "");
  builder.clusters[1024].data.resize(511);
  EXPECT_EQ(Refusal(builder.Build()), "qcow2.cluster.length");
}

TEST(Qcow2Corruption, ExtendedEntries) {
  Qcow2Builder builder;
  builder.cluster_bits = 14;
  builder.incompatible = kIncompatibleExtendedL2;
  builder.clusters[0].data = Text(16384, 1);
  builder.clusters[0].allocated = 0x0000ffff;
  builder.clusters[1] = {.kind = Kind::kZero, .data = {}};
  const Bytes good = builder.Build();
  const std::uint64_t at = builder.places.entries.at(0);
  ExpectRefusals(good, {
                           U64("both bits", at + 8, 0x0000000100000001, "qcow2.l2.entry"),
                           U64("allocated without a place", at, 0, "qcow2.l2.entry"),
                           U64("all zero", at + 8, 0xffffffff00000000, ""),
                           U64("nothing", at + 8, 0, ""),
                           U64("bit 0 is reserved here", at, PeekU64Be(good, at) | 1, ""),
                       });
}

TEST(Qcow2Truncation, NoCutGivesOtherBytes) {
  const Qcow2Builder builder = MakeBuilder();
  const Bytes whole = builder.Build();
  const Bytes guest = builder.Guest();
  for (std::size_t size = 0; size < whole.size(); size += 512 + size % 7) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto disk = Open(MakeMemorySource(std::move(cut)), NoCompanions());
    if (!disk) continue;
    // Only refcounts, which come last here, may be missing.
    ASSERT_GE(size, builder.places.snapshots);
    EXPECT_EQ((*disk)->Info().defects.empty(), size >= builder.places.refcount_table + kCluster)
        << "cut at " << size;
    Bytes read(guest.size());
    ASSERT_TRUE((*disk)->Read(0, read).has_value()) << "cut at " << size;
    ASSERT_TRUE(read == guest) << "cut at " << size;
  }
}

TEST(Qcow2Corruption, RandomDamageDoesNotCrashProperty) {
  const Bytes good = MakeBuilder().Build();
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    testing::FakeRandom random(seed);
    Bytes bad = good;
    for (int i = 0; i < 3; ++i) {
      // Header and tables more often than data.
      const std::uint64_t at = random.Below(2) == 0 ? random.Below(512) : random.Below(bad.size());
      bad[at] ^= static_cast<std::byte>(1U << random.Below(8));
    }
    Refusal(std::move(bad));
  }
}

}  // namespace
}  // namespace vmferry::image::qcow2
