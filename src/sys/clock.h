// SPDX-License-Identifier: Apache-2.0
//
// Clock: the only source of time. Tests give a clock of their own (testing/fake_clock.h).
//
// Thread safety: all methods may be called from any thread.

#pragma once

#include "base/deadline.h"

namespace vmferry::sys {

class Clock {
 public:
  virtual ~Clock() = default;

  virtual WallTime WallNow() const = 0;
  virtual MonotonicTime MonotonicNow() const = 0;
  /// Sleeps until `when` or until a stop is requested, whichever is first.
  virtual void SleepUntil(MonotonicTime when, std::stop_token stop) = 0;

  Deadline DeadlineIn(std::chrono::milliseconds duration) const {
    return Deadline::At(MonotonicNow() + duration);
  }
  /// Sleeps for `duration`, but not past the context's deadline.
  void SleepFor(std::chrono::milliseconds duration, const OpContext& context) {
    const MonotonicTime until = MonotonicNow() + duration;
    SleepUntil(until < context.deadline.when() ? until : context.deadline.when(), context.stop);
  }
};

/// The machine's clock.
class SystemClock final : public Clock {
 public:
  WallTime WallNow() const override;
  MonotonicTime MonotonicNow() const override;
  void SleepUntil(MonotonicTime when, std::stop_token stop) override;
};

}  // namespace vmferry::sys
