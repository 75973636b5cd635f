// SPDX-License-Identifier: Apache-2.0
#include "sys/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/units.h"
#include "sys/file.h"

extern char** environ;

namespace vmferry::sys {
namespace {

// Owns the two C structures of posix_spawn.
class SpawnPlan {
 public:
  SpawnPlan() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

Result<pid_t> Spawn(const ProcessOptions& options, int stdout_fd, int stderr_fd) {
  SpawnPlan plan;
  const char* null = "/dev/null";
  posix_spawn_file_actions_addopen(&plan.actions, 0, null, O_RDONLY, 0);
  const auto redirect = [&](int target, int descriptor, const std::filesystem::path& path) {
    if (descriptor >= 0) {
      posix_spawn_file_actions_adddup2(&plan.actions, descriptor, target);
    } else if (!path.empty()) {
      posix_spawn_file_actions_addopen(&plan.actions, target, path.c_str(),
                                       O_WRONLY | O_CREAT | O_APPEND, 0600);
    } else {
      posix_spawn_file_actions_addopen(&plan.actions, target, null, O_WRONLY, 0);
    }
  };
  redirect(1, stdout_fd, options.stdout_path);
  redirect(2, stderr_fd, options.stderr_path);
  // dup2 onto itself clears close-on-exec in the child (glibc 2.29 and later).
  for (const int descriptor : options.inherited_descriptors) {
    posix_spawn_file_actions_adddup2(&plan.actions, descriptor, descriptor);
  }
  if (!options.working_folder.empty()) {
    posix_spawn_file_actions_addchdir_np(&plan.actions, options.working_folder.c_str());
  }
  short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
  flags = static_cast<short>(flags |
                             (options.new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP));
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&plan.attributes, &signals);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGXFSZ}) {
    sigaddset(&signals, signal);
  }
  posix_spawnattr_setsigdefault(&plan.attributes, &signals);
  posix_spawnattr_setflags(&plan.attributes, flags);

  std::vector<std::string> arguments = options.arguments;
  std::vector<std::string> variables = options.environment;
  if (!options.clean_environment) {
    for (char** entry = environ; *entry != nullptr; ++entry) variables.emplace_back(*entry);
  }
  pid_t pid = 0;
  const int failure = ::posix_spawnp(&pid, arguments[0].c_str(), &plan.actions, &plan.attributes,
                                     Pointers(arguments).data(), Pointers(variables).data());
  if (failure == ENOENT) {
    return Error(ErrorCode::kNotFound, "process.not_found",
                 fmt::format("cannot start {}: it is not installed", arguments[0]))
        .With("program", arguments[0])
        .WithRemedy("install the package that provides it (tools/install-deps run)");
  }
  if (failure != 0) {
    return Error(ErrorCode::kUnavailable, "process.start_failed",
                 fmt::format("cannot start {}: {}", arguments[0], std::strerror(failure)))
        .With("program", arguments[0]);
  }
  return pid;
}

struct Pipe {
  int read_end = -1;
  int write_end = -1;

  Pipe() = default;
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  bool Open() {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
    read_end = ends[0];
    write_end = ends[1];
    return true;
  }
  void CloseRead() {
    if (read_end >= 0) ::close(std::exchange(read_end, -1));
  }
  void CloseWrite() {
    if (write_end >= 0) ::close(std::exchange(write_end, -1));
  }
};

// Reads what is there; closes the pipe at its end.
void Drain(Pipe& pipe, std::string& text, std::size_t limit) {
  std::array<char, 16384> buffer;
  const ssize_t count = ::read(pipe.read_end, buffer.data(), buffer.size());
  if (count <= 0) {
    if (count < 0 && errno == EINTR) return;
    pipe.CloseRead();
    return;
  }
  const std::size_t room = limit > text.size() ? limit - text.size() : 0;
  text.append(buffer.data(), std::min(room, static_cast<std::size_t>(count)));
}

// Field 22 of /proc/PID/stat and the state letter (field 3), counted after the command's last ')'.
struct ProcStat {
  char state = '?';
  std::uint64_t start_ticks = 0;
};

std::optional<ProcStat> ReadProcStat(pid_t pid) {
  std::FILE* file = std::fopen(fmt::format("/proc/{}/stat", pid).c_str(), "re");
  if (file == nullptr) return std::nullopt;
  std::array<char, 1024> buffer = {};
  const std::size_t count = std::fread(buffer.data(), 1, buffer.size() - 1, file);
  std::fclose(file);
  std::string_view text(buffer.data(), count);
  const std::size_t after_name = text.rfind(')');
  if (after_name == text.npos || after_name + 2 >= text.size()) return std::nullopt;
  text.remove_prefix(after_name + 2);
  ProcStat stat;
  stat.state = text[0];
  for (int field = 3; field < 22; ++field) {
    const std::size_t blank = text.find(' ');
    if (blank == text.npos) return std::nullopt;
    text.remove_prefix(blank + 1);
  }
  stat.start_ticks = ParseUint(text.substr(0, text.find(' '))).value_or(0);
  return stat;
}

}  // namespace

Result<pid_t> StartProcess(const ProcessOptions& options) { return Spawn(options, -1, -1); }

Result<ProcessOutcome> RunProcess(Clock& clock, ProcessOptions options, const OpContext& context,
                                  std::size_t output_limit_bytes) {
  Pipe out;
  Pipe err;
  if (!out.Open() || !err.Open()) return ErrnoError("create", "pipe", errno);
  VMFERRY_ASSIGN_OR_RETURN(const pid_t pid, Spawn(options, out.write_end, err.write_end));
  out.CloseWrite();
  err.CloseWrite();

  ProcessOutcome outcome;
  std::optional<Error> ended_early;
  int status = 0;
  while (true) {
    std::array<pollfd, 2> polled = {{{out.read_end, POLLIN, 0}, {err.read_end, POLLIN, 0}}};
    ::poll(polled.data(), polled.size(), 20);  // short, so that a stop is seen soon
    if (out.read_end >= 0 && polled[0].revents != 0) Drain(out, outcome.output, output_limit_bytes);
    if (err.read_end >= 0 && polled[1].revents != 0) Drain(err, outcome.error_output, 64 * kKiB);
    const bool streams_closed = out.read_end < 0 && err.read_end < 0;
    const pid_t waited = ::waitpid(pid, &status, streams_closed ? 0 : WNOHANG);
    if (waited == pid && (streams_closed || polled[0].revents + polled[1].revents == 0)) break;
    if (waited == pid) {
      // The program is gone but has left output behind: read it all, then stop.
      while (out.read_end >= 0) Drain(out, outcome.output, output_limit_bytes);
      while (err.read_end >= 0) Drain(err, outcome.error_output, 64 * kKiB);
      break;
    }
    if (ended_early) continue;
    if (context.stop.stop_requested()) {
      ended_early = Error(ErrorCode::kCancelled, "process.stopped",
                          fmt::format("{} was stopped", options.arguments[0]));
    } else if (context.deadline.Passed(clock.MonotonicNow())) {
      ended_early = Error(ErrorCode::kDeadlineExceeded, "process.timeout",
                          fmt::format("{} did not end in time", options.arguments[0]));
    }
    if (ended_early) ::kill(-pid, SIGKILL);
  }
  if (ended_early) return *ended_early;
  outcome.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return outcome;
}

bool ProcessRuns(pid_t pid) {
  const auto stat = ReadProcStat(pid);
  return stat && stat->state != 'Z' && stat->state != 'X';
}

std::optional<std::uint64_t> ProcessStartTicks(pid_t pid) {
  const auto stat = ReadProcStat(pid);
  if (!stat) return std::nullopt;
  return stat->start_ticks;
}

}  // namespace vmferry::sys
