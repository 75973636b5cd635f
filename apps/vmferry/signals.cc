// SPDX-License-Identifier: Apache-2.0
#include "signals.h"

#include <signal.h>
#include <unistd.h>

#include <ctime>

namespace vmferry::app {
namespace {

constexpr int kInterruptedExit = 130;

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

}  // namespace

SignalWatch::SignalWatch() {
  const sigset_t signals = WatchedSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // Writing to a closed pipe, or past a file size limit, is an error of that write and no more.
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  thread_ = std::jthread([this, signals](std::stop_token ended) {
    constexpr timespec kWake{.tv_sec = 0, .tv_nsec = 100'000'000};
    while (!ended.stop_requested()) {
      if (::sigtimedwait(&signals, nullptr, &kWake) < 0) continue;
      if (stop_.stop_requested()) ::_exit(kInterruptedExit);
      stop_.request_stop();
    }
  });
}

SignalWatch::~SignalWatch() = default;

}  // namespace vmferry::app
