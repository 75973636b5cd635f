// SPDX-License-Identifier: Apache-2.0
#include "sys/clock.h"

#include <condition_variable>
#include <mutex>

namespace vmferry::sys {

WallTime SystemClock::WallNow() const { return std::chrono::system_clock::now(); }

MonotonicTime SystemClock::MonotonicNow() const { return std::chrono::steady_clock::now(); }

void SystemClock::SleepUntil(MonotonicTime when, std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_until(lock, stop, when, [&] { return MonotonicNow() >= when; });
}

}  // namespace vmferry::sys
