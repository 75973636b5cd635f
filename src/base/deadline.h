// SPDX-License-Identifier: Apache-2.0
//
// Deadline and OpContext: until when an operation may run, and whether it was asked to stop.
//
// Deadlines are passed down, durations are not: nested waits then share one budget.

#pragma once

#include <chrono>
#include <stop_token>

namespace vmferry {

using MonotonicTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

class Deadline {
 public:
  static Deadline At(MonotonicTime when) { return Deadline(when); }
  static Deadline Never() { return Deadline(MonotonicTime::max()); }

  MonotonicTime when() const { return when_; }
  bool Passed(MonotonicTime now) const { return now >= when_; }
  /// Time left, never negative.
  std::chrono::milliseconds Remaining(MonotonicTime now) const {
    if (now >= when_) return std::chrono::milliseconds(0);
    return std::chrono::duration_cast<std::chrono::milliseconds>(when_ - now);
  }
  /// The earlier of this deadline and `other`.
  Deadline Earlier(Deadline other) const { return when_ < other.when_ ? *this : other; }

 private:
  explicit Deadline(MonotonicTime when) : when_(when) {}
  MonotonicTime when_;
};

/// What every blocking call is given.
struct OpContext {
  Deadline deadline = Deadline::Never();
  std::stop_token stop;

  OpContext WithDeadline(Deadline earlier) const { return {deadline.Earlier(earlier), stop}; }
};

}  // namespace vmferry
