// SPDX-License-Identifier: Apache-2.0
#include "image/table_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "testing/fake_random.h"

namespace vmferry::image {
namespace {

using Table = std::vector<std::uint64_t>;

/// Loads tables that hold their index, and counts.
struct Loader {
  std::atomic<int> loads = 0;
  Result<Table> operator()(std::uint64_t index) {
    ++loads;
    return Table{index};
  }
};

TEST(TableCache, LoadsOnce) {
  const TableCache<Table> cache(4);
  Loader loader;
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t index = 0; index < 4; ++index) {
      EXPECT_EQ(cache.Get(index, loader).value()->at(0), index);
    }
  }
  EXPECT_EQ(loader.loads, 4);
}

TEST(TableCache, AlwaysGivesTheTableThatWasAskedForProperty) {
  testing::FakeRandom random(1);
  const TableCache<Table> cache(3);
  Loader loader;
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t index = random.Below(12) + (random.Below(2) << 40);
    ASSERT_EQ(cache.Get(index, loader).value()->at(0), index);
  }
}

TEST(TableCache, ATableThatWasThrownOutLivesWhileItIsUsed) {
  const TableCache<Table> cache(1);
  Loader loader;
  const std::shared_ptr<const Table> first = cache.Get(0, loader).value();
  const std::weak_ptr<const Table> second = cache.Get(1, loader).value();
  EXPECT_FALSE(second.expired());
  static_cast<void>(cache.Get(2, loader));
  EXPECT_TRUE(second.expired());  // nobody used it: memory stays bounded
  EXPECT_EQ(first->at(0), 0U);
}

TEST(TableCache, KeepsNothingOfAFailure) {
  const TableCache<Table> cache(2);
  Loader loader;
  ASSERT_TRUE(cache.Get(0, loader).has_value());
  const auto fail = [](std::uint64_t) -> Result<Table> {
    return Error(ErrorCode::kDataLoss, "fake.damaged", "it is damaged");
  };
  const auto failed = cache.Get(2, fail);  // in the place of table 0
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().reason(), "fake.damaged");
  EXPECT_TRUE(cache.Get(0, fail).has_value());
  EXPECT_EQ(cache.Get(2, loader).value()->at(0), 2U);
}

TEST(TableCache, MayBeUsedFromManyThreads) {
  const TableCache<Table> cache(2);
  Loader loader;
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      threads.emplace_back([&, seed] {
        testing::FakeRandom random(seed);
        for (int i = 0; i < 500; ++i) {
          const std::uint64_t index = random.Below(5);
          const auto table = cache.Get(index, loader);
          if (!table || (*table)->at(0) != index) ++wrong;
        }
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace vmferry::image
