// SPDX-License-Identifier: Apache-2.0
//
// MakeLayeredImage, on layers whose content is known: whatever runs they cut the disk into.

#include "image/layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "image/extent_list.h"
#include "image/extent_walk.h"
#include "testing/fake_random.h"

namespace vmferry::image {
namespace {

using testing::FakeRandom;
using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kUnit = 7;  // nothing may depend on sectors

/// One kind for each unit; data bytes tell where they are. Runs are cut short at random places, as
/// layers may.
class FakeLayer final : public Layer {
 public:
  FakeLayer(std::vector<RunKind> kinds, std::uint64_t size_bytes, std::uint8_t mark)
      : kinds_(std::move(kinds)), size_bytes_(size_bytes), mark_(mark) {}

  std::uint64_t SizeBytes() const override { return size_bytes_; }

  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    EXPECT_LE(offset_bytes + limit_bytes, size_bytes_);
    EXPECT_GT(limit_bytes, 0U);
    const RunKind kind = KindAt(offset_bytes);
    std::uint64_t end = offset_bytes + 1;
    while (end < offset_bytes + limit_bytes && KindAt(end) == kind && end % 31 != 0) ++end;
    return LayerRun{offset_bytes, end - offset_bytes, kind, offset_bytes * 3};
  }

  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override {
    EXPECT_EQ(out.size(), run.length_bytes);
    EXPECT_EQ(run.locator, run.offset_bytes * 3);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = ByteAt(run.offset_bytes + i);
    return {};
  }

  RunKind KindAt(std::uint64_t offset) const { return kinds_.at(offset / kUnit); }
  std::byte ByteAt(std::uint64_t offset) const {
    return static_cast<std::byte>((offset * 5 + mark_) % 255 + 1);
  }

 private:
  const std::vector<RunKind> kinds_;
  const std::uint64_t size_bytes_;
  const std::uint8_t mark_;
};

std::unique_ptr<FakeLayer> RandomLayer(FakeRandom& random, std::uint64_t size_bytes) {
  std::vector<RunKind> kinds(size_bytes / kUnit + 1);
  for (RunKind& kind : kinds) kind = static_cast<RunKind>(random.Below(3));
  return std::make_unique<FakeLayer>(kinds, size_bytes,
                                     static_cast<std::uint8_t>(random.Below(200)));
}

/// What a disk of these layers, the lowest first, holds at each byte.
struct Model {
  Bytes bytes;
  std::vector<ExtentKind> kinds;

  void Add(const FakeLayer& layer) {
    bytes.resize(layer.SizeBytes());
    kinds.resize(layer.SizeBytes(), ExtentKind::kHole);  // a shorter parent is a hole behind it
    for (std::uint64_t at = 0; at < bytes.size(); ++at) {
      const RunKind kind = layer.KindAt(at);
      if (kind == RunKind::kAbsent) continue;
      bytes[at] = kind == RunKind::kData ? layer.ByteAt(at) : std::byte{0};
      kinds[at] = kind == RunKind::kData ? ExtentKind::kData : ExtentKind::kZero;
    }
  }
};

struct Chain {
  std::unique_ptr<DiskImage> disk;
  Model model;

  explicit Chain(FakeRandom& random) {
    const std::uint64_t depth = 1 + random.Below(4);
    for (std::uint64_t level = 0; level < depth; ++level) {
      auto layer = RandomLayer(random, 1 + random.Below(2000));
      model.Add(*layer);
      std::optional<ParentDisk> parent;
      if (disk != nullptr) {
        parent.emplace();
        parent->image = std::move(disk);
        parent->path = "level" + std::to_string(level);
      }
      DiskImageInfo info;
      info.format = "fake" + std::to_string(level);
      disk = MakeLayeredImage(std::move(layer), std::move(parent), std::move(info));
    }
  }
};

TEST(LayeredImage, SplitReadsAreOneReadProperty) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    FakeRandom random(seed);
    const Chain chain(random);
    Bytes whole(chain.disk->SizeBytes());
    ASSERT_TRUE(chain.disk->Read(0, whole).has_value());
    ASSERT_TRUE(whole == chain.model.bytes);
    Bytes parts(whole.size());
    for (std::size_t at = 0; at < parts.size();) {
      const std::size_t count = std::min<std::size_t>(1 + random.Below(90), parts.size() - at);
      ASSERT_TRUE(chain.disk->Read(at, std::span(parts).subspan(at, count)).has_value());
      at += count;
    }
    ASSERT_TRUE(parts == whole);
  }
}

TEST(LayeredImage, ExtentsCoverTheDiskExactlyOnceProperty) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    FakeRandom random(seed);
    const Chain chain(random);
    const std::uint64_t size = chain.disk->SizeBytes();
    const std::uint64_t offset = random.Below(size);
    const std::uint64_t length = seed % 3 == 0 ? 0 : random.Below(size - offset) + 1;
    const auto extents = chain.disk->Extents(offset, length);
    ASSERT_TRUE(extents.has_value());
    std::uint64_t at = offset;
    for (std::size_t i = 0; i < extents->size(); ++i) {
      const Extent& extent = (*extents)[i];
      ASSERT_EQ(extent.offset_bytes, at);
      ASSERT_GT(extent.length_bytes, 0U);
      ASSERT_TRUE(i == 0 || extent.kind != (*extents)[i - 1].kind);
      for (; at < extent.offset_bytes + extent.length_bytes; ++at) {
        ASSERT_EQ(extent.kind, chain.model.kinds[at]) << at;
      }
    }
    ASSERT_EQ(at, offset + length);
  }
}

TEST(LayeredImage, EndsItsListOfExtentsSomeTime) {
  // Every unit is an extent: a stranger's table may say so.
  const std::uint64_t count = 3 * kExtentsMax;
  const auto alternating = [&](RunKind even) {
    std::vector<RunKind> kinds(count, RunKind::kZero);
    for (std::uint64_t i = 0; i < count; i += 2) kinds[i] = even;
    return std::make_unique<FakeLayer>(kinds, count * kUnit, 1);
  };
  ParentDisk parent;
  parent.image = MakeLayeredImage(alternating(RunKind::kData), std::nullopt, {});
  std::vector<RunKind> absent(count, RunKind::kAbsent);
  const auto child = MakeLayeredImage(std::make_unique<FakeLayer>(absent, count * kUnit, 1),
                                      std::move(parent), {});
  const auto plain = MakeLayeredImage(alternating(RunKind::kAbsent), std::nullopt, {});
  for (const DiskImage* disk : {child.get(), plain.get()}) {
    const auto some = disk->Extents(0, disk->SizeBytes());
    ASSERT_TRUE(some.has_value());
    EXPECT_GE(some->size(), kExtentsMax);
    EXPECT_LE(some->size(), kExtentsMax + 64);  // a run of the child may bring a few more
    const auto all = WholeExtents(*disk, 0, disk->SizeBytes());
    ASSERT_TRUE(all.has_value());
    ASSERT_EQ(all->size(), count);
    ExtentWalk walk(*disk);
    for (const Extent& extent : *all) {
      const auto next = walk.Next();
      ASSERT_TRUE(next.has_value());
      ASSERT_EQ(*next, extent);
    }
    EXPECT_FALSE(walk.Next().value().has_value());
  }
}

TEST(LayeredImage, TellsItsChainFromTheParentDown) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    FakeRandom random(seed);
    const Chain chain(random);
    const DiskImageInfo& info = chain.disk->Info();
    EXPECT_EQ(info.virtual_size_bytes, chain.disk->SizeBytes());
    for (std::size_t i = 0; i < info.chain.size(); ++i) {
      EXPECT_EQ(info.chain[i].format, "fake" + std::to_string(info.chain.size() - 1 - i));
      EXPECT_EQ(info.chain[i].path, "level" + std::to_string(info.chain.size() - i));
    }
  }
}

TEST(LayeredImage, RefusesToReadPastItsEnd) {
  FakeRandom random(1);
  const auto disk = MakeLayeredImage(RandomLayer(random, 100), std::nullopt, {});
  Bytes bytes(2);
  for (const std::uint64_t offset : {std::uint64_t{99}, std::uint64_t{101}, ~std::uint64_t{0}}) {
    const auto read = disk->Read(offset, bytes);
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().reason(), "image.read_past_end");
    EXPECT_FALSE(disk->Extents(offset, 2).has_value());
  }
  EXPECT_TRUE(disk->Read(100, {}).has_value());
  EXPECT_TRUE(disk->Extents(100, 0).value().empty());
}

/// Data, and then something that cannot be read.
class DamagedLayer final : public Layer {
 public:
  std::uint64_t SizeBytes() const override { return 20; }
  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override {
    if (offset_bytes < 10) {
      return LayerRun{offset_bytes, std::min(limit_bytes, 10 - offset_bytes), RunKind::kZero, 0};
    }
    return Error(ErrorCode::kDataLoss, "fake.damaged", "it is damaged");
  }
  Result<void> ReadRun(const LayerRun&, std::span<std::byte>) const override { return {}; }
};

TEST(LayeredImage, DamageIsToldOnlyWhereItIs) {
  const auto disk = MakeLayeredImage(std::make_unique<DamagedLayer>(), std::nullopt, {});
  Bytes bytes(10);
  EXPECT_TRUE(disk->Read(0, bytes).has_value());
  const auto read = disk->Read(1, bytes);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().reason(), "fake.damaged");
  EXPECT_TRUE(disk->Extents(0, 10).has_value());
  EXPECT_FALSE(disk->Extents(0, 11).has_value());
}

}  // namespace
}  // namespace vmferry::image
