// SPDX-License-Identifier: Apache-2.0
//
// Signals: the first SIGINT, SIGTERM or SIGHUP asks the program to stop, the second ends it at
// once.

#pragma once

#include <stop_token>
#include <thread>

namespace vmferry::app {

class SignalWatch {
 public:
  /// Blocks the signals for all threads started later, so it must be made first.
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  std::stop_token stop_token() const { return stop_.get_token(); }

 private:
  std::stop_source stop_;
  std::jthread thread_;
};

}  // namespace vmferry::app
