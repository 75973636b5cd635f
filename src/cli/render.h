// SPDX-License-Identifier: Apache-2.0
//
// Renderers: events and progress as a live line on a terminal, as plain lines with times
// elsewhere, or as JSON lines for programs.

#pragma once

#include <cstdio>
#include <deque>
#include <functional>
#include <memory>

#include "base/mutex.h"
#include "migration/event.h"
#include "sys/clock.h"

namespace vmferry::cli {

/// Bytes per second over the last ten seconds.
class RateMeter {
 public:
  void Add(MonotonicTime now, std::uint64_t done_bytes);
  std::uint64_t BytesPerSecond() const;

 private:
  std::deque<std::pair<MonotonicTime, std::uint64_t>> samples_;
};

/// One line about where a step stands, at most `columns` wide: name, bar, bytes, rate, ETA, what is
/// being waited for.
std::string ProgressLine(const migration::Progress& progress, std::uint64_t bytes_per_second,
                         std::chrono::seconds elapsed, std::size_t columns, bool bar);

/// The live line, redrawn in place, with finished steps above it.
std::unique_ptr<migration::EventSink> MakeTerminalRenderer(std::FILE* talk, sys::Clock& clock,
                                                           std::function<int()> columns);
/// Lines with times: events, and progress when something has changed, at most every five seconds.
std::unique_ptr<migration::EventSink> MakePlainRenderer(std::FILE* talk, sys::Clock& clock);
/// One JSON object a line on standard output; progress at most once a second.
std::unique_ptr<migration::EventSink> MakeJsonRenderer(std::FILE* out, sys::Clock& clock);

}  // namespace vmferry::cli
