// SPDX-License-Identifier: Apache-2.0
#include "testing/fake_clock.h"

namespace vmferry::testing {

WallTime FakeClock::WallNow() const {
  MutexLock lock(mutex_);
  return start_ + std::chrono::duration_cast<WallTime::duration>(elapsed_ - std::chrono::hours(1));
}

MonotonicTime FakeClock::MonotonicNow() const {
  MutexLock lock(mutex_);
  return MonotonicTime(elapsed_);
}

void FakeClock::SleepUntil(MonotonicTime when, std::stop_token) {
  MutexLock lock(mutex_);
  if (when.time_since_epoch() > elapsed_ && when != MonotonicTime::max()) {
    elapsed_ = when.time_since_epoch();
  }
}

void FakeClock::Advance(std::chrono::milliseconds duration) {
  MutexLock lock(mutex_);
  elapsed_ += duration;
}

}  // namespace vmferry::testing
