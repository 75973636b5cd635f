// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>

#include "io/bounded_queue.h"
#include "io/buffer.h"
#include "io/task_group.h"

namespace vmferry::io {
namespace {

TEST(BoundedQueue, HandsOverEveryValueOnce) {
  BoundedQueue<int> queue(2);
  std::atomic<int> sum = 0;
  TaskGroup group({});
  for (int worker = 0; worker < 3; ++worker) {
    group.Start([&](std::stop_token stop) -> Result<void> {
      while (const auto value = queue.Pop(stop)) sum += *value;
      return {};
    });
  }
  for (int i = 1; i <= 100; ++i) ASSERT_TRUE(queue.Push(i, {}));
  queue.Close();
  ASSERT_TRUE(group.Wait());
  EXPECT_EQ(sum, 5050);
  EXPECT_FALSE(queue.Push(1, {}));
}

TEST(Buffer, HasNoCapacityOnceItWasMovedFrom) {
  Buffer first(8);
  first.Resize(3);
  Buffer second = std::move(first);
  EXPECT_EQ(second.size(), 3U);
  EXPECT_EQ(first.capacity(), 0U);  // NOLINT(bugprone-use-after-move): that is the question
  first = std::move(second);
  EXPECT_EQ(first.capacity(), 8U);
  EXPECT_TRUE(second.empty());  // NOLINT(bugprone-use-after-move)
}

TEST(TaskGroup, FirstErrorStopsTheOthers) {
  BoundedQueue<int> never(1);
  TaskGroup group({});
  group.Start([&](std::stop_token stop) -> Result<void> {
    never.Pop(stop);
    return {};
  });
  group.Start([](std::stop_token) -> Result<void> {
    return Error(ErrorCode::kInternal, "test.failed", "failed");
  });
  const auto outcome = group.Wait();
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().reason(), "test.failed");
}

TEST(TaskGroup, ParentStopReachesTasks) {
  std::stop_source parent;
  TaskGroup group(parent.get_token());
  BoundedQueue<int> never(1);
  group.Start([&](std::stop_token stop) -> Result<void> {
    never.Pop(stop);
    return {};
  });
  parent.request_stop();
  EXPECT_TRUE(group.Wait());
}

TEST(Buffer, IsEmptyOnceItWasMovedFrom) {
  Buffer buffer(16);
  buffer.Extend(4);
  Buffer other = std::move(buffer);
  EXPECT_EQ(other.size(), 4U);
  EXPECT_EQ(buffer.capacity(), 0U);  // NOLINT(bugprone-use-after-move): that is the question
  EXPECT_TRUE(buffer.empty());
  buffer = std::move(other);
  EXPECT_EQ(buffer.capacity(), 16U);
}

}  // namespace
}  // namespace vmferry::io
