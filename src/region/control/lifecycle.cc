// SPDX-License-Identifier: Apache-2.0
#include "region/control/lifecycle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/units.h"
#include "region/control/admin_service.h"
#include "region/control/serve.h"
#include "sys/file.h"
#include "sys/process.h"

namespace vmferry::region::control {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollInterval{20};
// How long to wait for a rival's daemon to be ready, after ours found the folder locked.
constexpr milliseconds kRivalTimeout{10'000};

std::string LastLogLine(const std::filesystem::path& log) {
  auto file = sys::File::Open(log, sys::File::Mode::kRead);
  if (!file) return {};
  const std::uint64_t size = file->Size().value_or(0U);
  std::string tail(static_cast<std::size_t>(std::min<std::uint64_t>(size, 2048)), '\0');
  if (!file->ReadAt(size - tail.size(), std::as_writable_bytes(std::span(tail)))) return {};
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  return tail.substr(tail.rfind('\n') + 1);
}

/// Reads one line from the pipe; "" at its end, nothing at the deadline.
std::optional<std::string> ReadReport(const sys::File& pipe, sys::Clock& clock, Deadline deadline) {
  std::string line;
  while (true) {
    const milliseconds left = deadline.Remaining(clock.MonotonicNow());
    if (left <= milliseconds(0)) return std::nullopt;
    struct pollfd waiting = {pipe.descriptor(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) continue;
    std::array<char, 4096> buffer;
    const ssize_t count = ::read(pipe.descriptor(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return line;
    line.append(buffer.data(), static_cast<std::size_t>(count));
    if (line.back() == '\n') return line;
  }
}

/// Starts the daemon and waits for its report.
Result<void> Launch(const StartOptions& options, const World& world) {
  std::array<int, 2> ends = {};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return sys::ErrnoError("make", "a pipe", errno);
  const auto read_end = sys::File::FromDescriptor(ends[0], "pipe of the region");
  std::optional<sys::File> write_end = sys::File::FromDescriptor(ends[1], "pipe of the region");
  const std::filesystem::path log = options.region.folder / "region.log";
  sys::ProcessOptions process;
  process.arguments = {options.program};
  for (std::string& argument : ServeArguments({options.region, ends[1]})) {
    process.arguments.push_back(std::move(argument));
  }
  process.stdout_path = log;
  process.stderr_path = log;
  process.new_session = true;
  process.inherited_descriptors = {ends[1]};
  VMFERRY_ASSIGN_OR_RETURN(const pid_t pid, sys::StartProcess(process));
  write_end.reset();  // so that the daemon's end is the last
  const auto report = ReadReport(read_end, world.clock, world.clock.DeadlineIn(options.timeout));
  if (!report) {
    ::kill(pid, SIGKILL);
    return Error(ErrorCode::kDeadlineExceeded, "region.start_timeout",
                 fmt::format("the region was not ready after {} s",
                             std::chrono::ceil<std::chrono::seconds>(options.timeout).count()))
        .With("log", log.string())
        .WithRemedy("look into its log, then start it again");
  }
  const auto json = text::Json::Parse(*report);
  if (json && (*json)["ready"].AsBool()) return {};
  if (json && (*json)["reason"].IsString()) return ErrorOf(*json);
  return Error(ErrorCode::kUnavailable, "region.start_failed",
               fmt::format("the region ended while it started: {}", LastLogLine(log)))
      .With("log", log.string())
      .WithRemedy("look into its log, then start it again");
}

std::optional<RegionInfo> WaitForRival(const std::filesystem::path& folder, sys::Clock& clock) {
  const OpContext context = {clock.DeadlineIn(kRivalTimeout), {}};
  while (!context.deadline.Passed(clock.MonotonicNow())) {
    if (auto info = FindRunningRegion(folder)) return info;
    clock.SleepFor(kPollInterval, context);
  }
  return std::nullopt;
}

/// True when the process was gone before the deadline.
bool WaitForEnd(const RegionInfo& info, sys::Clock& clock, milliseconds timeout) {
  const OpContext context = {clock.DeadlineIn(timeout), {}};
  while (sys::ProcessRuns(info.pid) && sys::ProcessStartTicks(info.pid) == info.start_ticks) {
    if (context.deadline.Passed(clock.MonotonicNow())) return false;
    clock.SleepFor(kPollInterval, context);
  }
  return true;
}

}  // namespace

Result<StartOutcome> StartRegion(const StartOptions& options, const World& world) {
  VMFERRY_RETURN_IF_ERROR(Validate(options.region));
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(options.region.folder));
  // The daemon's working folder is ours, but its log and arguments are better absolute.
  StartOptions absolute = options;
  std::error_code ignored;
  absolute.region.folder = std::filesystem::absolute(options.region.folder, ignored);
  const std::filesystem::path& folder = absolute.region.folder;
  if (auto info = FindRunningRegion(folder)) return StartOutcome{*std::move(info), false};
  auto launched = Launch(absolute, world);
  if (!launched) {
    if (launched.error().reason() != "region.locked") return std::move(launched).error();
    if (auto info = WaitForRival(folder, world.clock)) {
      return StartOutcome{*std::move(info), false};
    }
    return std::move(launched).error();
  }
  VMFERRY_ASSIGN_OR_RETURN(RegionInfo info, ReadRegionInfo(folder));
  return StartOutcome{std::move(info), true};
}

Result<StopOutcome> StopRegion(const std::filesystem::path& folder, const World& world,
                               milliseconds timeout) {
  const auto info = FindRunningRegion(folder);
  if (!info) {
    // What an ephemeral region left that was killed.
    if (IsEphemeral(folder)) RemoveEphemeral(folder);
    return StopOutcome::kNotRunning;
  }
  if (::kill(info->pid, SIGTERM) != 0 && errno != ESRCH) {
    return Error(ErrorCode::kPermissionDenied, "region.stop_failed",
                 fmt::format("cannot stop the region's process {}: {}", info->pid,
                             std::strerror(errno)))
        .WithRemedy("stop it as the user who started it");
  }
  if (WaitForEnd(*info, world.clock, timeout)) return StopOutcome::kStopped;
  ::kill(info->pid, SIGKILL);
  WaitForEnd(*info, world.clock, std::chrono::seconds(10));
  return StopOutcome::kKilled;
}

void RemoveEphemeral(const std::filesystem::path& folder) {
  // The mark goes last: what a crash leaves of the folder is still known for what it is.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    std::error_code ignored_too;
    if (entry.path().filename() != "ephemeral") {
      std::filesystem::remove_all(entry.path(), ignored_too);
    }
  }
  std::filesystem::remove_all(folder, ignored);
}

std::uint64_t SpaceUsedBytes(const std::filesystem::path& folder) {
  constexpr std::uint64_t kStatBlockBytes = 512;  // stat(2): st_blocks counts these
  std::uint64_t bytes = 0;
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(folder, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    struct stat status = {};
    if (::lstat(it->path().c_str(), &status) != 0) continue;  // gone meanwhile
    bytes += static_cast<std::uint64_t>(status.st_blocks) * kStatBlockBytes;
  }
  return bytes;
}

}  // namespace vmferry::region::control
