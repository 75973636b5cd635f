// SPDX-License-Identifier: Apache-2.0
//
// FakeClock: time that passes only when somebody sleeps or the test says so.

#pragma once

#include "base/mutex.h"
#include "sys/clock.h"

namespace vmferry::testing {

class FakeClock final : public sys::Clock {
 public:
  /// Starts at 2026-01-01T00:00:00Z unless told otherwise.
  explicit FakeClock(WallTime start = WallTime(std::chrono::seconds(1767225600))) : start_(start) {}

  WallTime WallNow() const override;
  MonotonicTime MonotonicNow() const override;
  /// Advances the time to `when` and returns at once.
  void SleepUntil(MonotonicTime when, std::stop_token stop) override;
  void Advance(std::chrono::milliseconds duration);

 private:
  const WallTime start_;
  mutable Mutex mutex_;
  std::chrono::nanoseconds elapsed_ VMFERRY_GUARDED_BY(mutex_) = std::chrono::hours(1);
};

}  // namespace vmferry::testing
