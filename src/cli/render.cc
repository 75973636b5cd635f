// SPDX-License-Identifier: Apache-2.0
#include "cli/render.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "text/json.h"

namespace vmferry::cli {
namespace {

using migration::Event;
using migration::Progress;

constexpr std::chrono::seconds kRateWindow(10);
constexpr std::chrono::milliseconds kRedrawInterval(100);
constexpr std::chrono::seconds kPlainInterval(5);
constexpr std::chrono::seconds kJsonInterval(1);
constexpr std::size_t kBarWidth = 20;

// Keeps the rate of the present step, and when that step began.
class StepMeter {
 public:
  void Add(const Progress& progress, MonotonicTime now) {
    const std::string key =
        std::string(StepName(progress.step)) + progress.waiting_for.substr(0, 6);
    if (key != key_) {
      key_ = key;
      began_ = now;
      meter_ = RateMeter();
    }
    if (progress.total_bytes > 0) meter_.Add(now, progress.done_bytes);
  }
  std::uint64_t rate() const { return meter_.BytesPerSecond(); }
  std::chrono::seconds Elapsed(MonotonicTime now) const {
    return std::chrono::duration_cast<std::chrono::seconds>(now - began_);
  }

 private:
  std::string key_;
  MonotonicTime began_;
  RateMeter meter_;
};

class TerminalRenderer final : public migration::EventSink {
 public:
  TerminalRenderer(std::FILE* talk, sys::Clock& clock, std::function<int()> columns)
      : talk_(talk), clock_(clock), columns_(std::move(columns)) {}
  ~TerminalRenderer() override { Clear(); }
  TerminalRenderer(const TerminalRenderer&) = delete;
  TerminalRenderer& operator=(const TerminalRenderer&) = delete;

  void OnEvent(const Event& event) override {
    MutexLock lock(mutex_);
    if (event.name == "step.started") return;  // its progress shows it
    Clear();
    const char* mark = event.name == "step.done" ? "\x1b[32m✓\x1b[0m" : "·";
    fmt::print(talk_, "{} {}\n", mark, event.text);
    std::fflush(talk_);
  }

  void OnProgress(const Progress& progress) override {
    MutexLock lock(mutex_);
    const MonotonicTime now = clock_.MonotonicNow();
    meter_.Add(progress, now);
    if (now - drawn_ < kRedrawInterval && progress.done_bytes != progress.total_bytes) return;
    drawn_ = now;
    const auto width = static_cast<std::size_t>(std::max(20, columns_() - 1));
    Clear();
    fmt::print(talk_, "{}",
               ProgressLine(progress, meter_.rate(), meter_.Elapsed(now), width, /*bar=*/true));
    std::fflush(talk_);
    shown_ = true;
  }

 private:
  void Clear() {
    if (!shown_) return;
    fmt::print(talk_, "\r\x1b[K");
    shown_ = false;
  }

  std::FILE* const talk_;
  sys::Clock& clock_;
  const std::function<int()> columns_;
  Mutex mutex_;
  StepMeter meter_ VMFERRY_GUARDED_BY(mutex_);
  MonotonicTime drawn_ VMFERRY_GUARDED_BY(mutex_);
  bool shown_ = false;
};

class PlainRenderer final : public migration::EventSink {
 public:
  PlainRenderer(std::FILE* talk, sys::Clock& clock) : talk_(talk), clock_(clock) {}

  void OnEvent(const Event& event) override {
    if (event.name != "step.started") Print(event.text);
  }

  void OnProgress(const Progress& progress) override {
    std::string line;
    {
      MutexLock lock(mutex_);
      const MonotonicTime now = clock_.MonotonicNow();
      meter_.Add(progress, now);
      if (now - printed_ < kPlainInterval) return;
      line = ProgressLine(progress, meter_.rate(), meter_.Elapsed(now), 1000, /*bar=*/false);
      printed_ = now;
    }
    Print(line);
  }

 private:
  void Print(const std::string& line) {
    fmt::print(talk_, "{} {}\n", FormatTime(clock_.WallNow()), line);
    std::fflush(talk_);
  }

  std::FILE* const talk_;
  sys::Clock& clock_;
  Mutex mutex_;
  StepMeter meter_ VMFERRY_GUARDED_BY(mutex_);
  MonotonicTime printed_ VMFERRY_GUARDED_BY(mutex_);
};

class JsonRenderer final : public migration::EventSink {
 public:
  JsonRenderer(std::FILE* out, sys::Clock& clock) : out_(out), clock_(clock) {}

  void OnEvent(const Event& event) override {
    text::Json json = Begin(event.name, event.migration_id);
    json.Set("text", event.text);
    for (const auto& [key, value] : event.facts) json.Set(key, value);
    Print(json);
  }

  void OnProgress(const Progress& progress) override {
    {
      MutexLock lock(mutex_);
      const MonotonicTime now = clock_.MonotonicNow();
      if (now - printed_ < kJsonInterval) return;
      printed_ = now;
    }
    text::Json json = Begin("progress", progress.migration_id);
    json.Set("step", StepName(progress.step))
        .Set("disk", progress.disk)
        .Set("done_bytes", progress.done_bytes)
        .Set("total_bytes", progress.total_bytes)
        .Set("waiting_for", progress.waiting_for);
    Print(json);
  }

 private:
  text::Json Begin(std::string_view name, const std::string& migration_id) const {
    text::Json json = text::Json::MakeObject();
    json.Set("schema", "vmferry.event/1")
        .Set("time", FormatTime(clock_.WallNow()))
        .Set("event", name)
        .Set("migration", migration_id);
    return json;
  }
  void Print(const text::Json& json) {
    fmt::print(out_, "{}\n", json.Dump());
    std::fflush(out_);
  }

  std::FILE* const out_;
  sys::Clock& clock_;
  Mutex mutex_;
  MonotonicTime printed_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace

void RateMeter::Add(MonotonicTime now, std::uint64_t done_bytes) {
  samples_.emplace_back(now, done_bytes);
  while (samples_.size() > 2 && now - samples_.front().first > kRateWindow) samples_.pop_front();
}

std::uint64_t RateMeter::BytesPerSecond() const {
  if (samples_.size() < 2) return 0;
  const auto& [first_time, first_bytes] = samples_.front();
  const auto& [last_time, last_bytes] = samples_.back();
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::milliseconds>(last_time - first_time).count();
  if (elapsed <= 0 || last_bytes < first_bytes) return 0;
  return (last_bytes - first_bytes) * 1000 / static_cast<std::uint64_t>(elapsed);
}

std::string BytesProgress(std::uint64_t done_bytes, std::uint64_t total_bytes,
                          std::uint64_t bytes_per_second, bool bar) {
  // Doubles are exact enough for a display.
  const double share = static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  std::string text;
  if (bar) {
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(kBarWidth));
    text += fmt::format("  [{:#<{}}{:.<{}}]", "", filled, "", kBarWidth - filled);
  }
  text += fmt::format("  {:3.0f}%  {} of {}", share * 100, FormatSize(done_bytes),
                      FormatSize(total_bytes));
  if (bytes_per_second > 0) {
    const std::uint64_t left_bytes = total_bytes - done_bytes;
    text += fmt::format("  {}/s  ETA {}", FormatSize(bytes_per_second),
                        FormatDuration(std::chrono::seconds(left_bytes / bytes_per_second)));
  }
  return text;
}

std::string ProgressLine(const Progress& progress, std::uint64_t bytes_per_second,
                         std::chrono::seconds elapsed, std::size_t columns, bool bar) {
  std::string line = fmt::format("{}  {}", progress.disk, StepName(progress.step));
  if (progress.total_bytes > 0) {
    line += BytesProgress(progress.done_bytes, progress.total_bytes, bytes_per_second, bar);
  }
  if (!progress.waiting_for.empty()) line += "  " + progress.waiting_for;
  if (progress.total_bytes == 0) line += fmt::format("  {}", FormatDuration(elapsed));
  if (line.size() > columns) line.resize(columns);
  return line;
}

ByteProgress::ByteProgress(World& world, std::string label)
    : world_(world), label_(std::move(label)), drawn_(world.clock.MonotonicNow()) {}

void ByteProgress::Clear() {
  MutexLock lock(mutex_);
  if (!shown_) return;
  fmt::print(world_.talk, "\r\x1b[K");
  std::fflush(world_.talk);
  shown_ = false;
}

void ByteProgress::Update(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (!world_.talk_is_terminal || total_bytes == 0) return;
  MutexLock lock(mutex_);
  const MonotonicTime now = world_.clock.MonotonicNow();
  if (now - drawn_ < kRedrawInterval) return;
  drawn_ = now;
  meter_.Add(now, done_bytes);
  const auto width = static_cast<std::size_t>(std::max(20, world_.columns() - 1));
  std::string line = label_ + BytesProgress(done_bytes, total_bytes, meter_.BytesPerSecond(), true);
  if (line.size() > width) line.resize(width);
  fmt::print(world_.talk, "\r\x1b[K{}", line);
  std::fflush(world_.talk);
  shown_ = true;
}

std::unique_ptr<migration::EventSink> MakeTerminalRenderer(std::FILE* talk, sys::Clock& clock,
                                                           std::function<int()> columns) {
  return std::make_unique<TerminalRenderer>(talk, clock, std::move(columns));
}

std::unique_ptr<migration::EventSink> MakePlainRenderer(std::FILE* talk, sys::Clock& clock) {
  return std::make_unique<PlainRenderer>(talk, clock);
}

std::unique_ptr<migration::EventSink> MakeJsonRenderer(std::FILE* out, sys::Clock& clock) {
  return std::make_unique<JsonRenderer>(out, clock);
}

}  // namespace vmferry::cli
