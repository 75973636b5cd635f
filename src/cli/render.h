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
#include "cli/world.h"
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

/// How far work on bytes has got, with two blanks in front of each part: bar, share, bytes, rate,
/// time left. Pre: total_bytes > 0.
std::string BytesProgress(std::uint64_t done_bytes, std::uint64_t total_bytes,
                          std::uint64_t bytes_per_second, bool bar);

/// One line about where a step stands, at most `columns` wide: name, bar, bytes, rate, ETA, what is
/// being waited for.
std::string ProgressLine(const migration::Progress& progress, std::uint64_t bytes_per_second,
                         std::chrono::seconds elapsed, std::size_t columns, bool bar);

/// The progress of a command that reads disks: a live line on a terminal, nothing elsewhere. The
/// line vanishes with the object.
///
/// Thread safety: Update may be called from any thread.
class ByteProgress {
 public:
  /// Borrows `world`. `label` says what is done: "comparing".
  ByteProgress(World& world, std::string label);
  ~ByteProgress() { Clear(); }
  ByteProgress(const ByteProgress&) = delete;
  ByteProgress& operator=(const ByteProgress&) = delete;

  void Update(std::uint64_t done_bytes, std::uint64_t total_bytes);
  /// Removes the line, so that something else may be printed.
  void Clear();

 private:
  World& world_;
  const std::string label_;
  Mutex mutex_;  // held while a line is drawn, so that lines do not mix
  RateMeter meter_ VMFERRY_GUARDED_BY(mutex_);
  MonotonicTime drawn_ VMFERRY_GUARDED_BY(mutex_);
  bool shown_ VMFERRY_GUARDED_BY(mutex_) = false;
};

/// The live line, redrawn in place, with finished steps above it.
std::unique_ptr<migration::EventSink> MakeTerminalRenderer(std::FILE* talk, sys::Clock& clock,
                                                           std::function<int()> columns);
/// Lines with times: events, and progress when something has changed, at most every five seconds.
std::unique_ptr<migration::EventSink> MakePlainRenderer(std::FILE* talk, sys::Clock& clock);
/// One JSON object a line on standard output; progress at most once a second.
std::unique_ptr<migration::EventSink> MakeJsonRenderer(std::FILE* out, sys::Clock& clock);

}  // namespace vmferry::cli
