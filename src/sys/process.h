// SPDX-License-Identifier: Apache-2.0
//
// Starting other programs: posix_spawn with an argument list, never a shell.
//
// Thread safety: all functions may be called from any thread.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "sys/clock.h"

namespace vmferry::sys {

struct ProcessOptions {
  std::vector<std::string> arguments;    ///< [0] is the program, looked up in PATH
  std::filesystem::path working_folder;  ///< empty: ours
  /// Files for standard output and error (appended to); empty: /dev/null. Standard input is
  /// /dev/null.
  std::filesystem::path stdout_path;
  std::filesystem::path stderr_path;
  /// A session of its own: signals of our terminal do not reach it, and it outlives us.
  bool new_session = false;
  /// Extra "NAME=value" entries. The rest of our environment is passed on unless
  /// `clean_environment`.
  std::vector<std::string> environment;
  bool clean_environment = false;
  /// Descriptors the child keeps under the same number; all others are closed on exec.
  std::vector<int> inherited_descriptors;
};

/// Starts the program and returns its pid; the caller waits for it or lets it run.
/// Errors: kNotFound process.not_found; kUnavailable process.start_failed.
Result<pid_t> StartProcess(const ProcessOptions& options);

struct ProcessOutcome {
  int exit_code = 0;         ///< 128 + signal when a signal ended it
  std::string output;        ///< standard output, at most `output_limit_bytes`
  std::string error_output;  ///< standard error, at most 64 KiB
};

/// Runs the program to its end and collects its output. At the deadline, or when a stop is
/// requested, it is killed with its process group: kDeadlineExceeded process.timeout, kCancelled
/// process.stopped. A non-zero exit code is not an error of this function.
Result<ProcessOutcome> RunProcess(Clock& clock, ProcessOptions options, const OpContext& context,
                                  std::size_t output_limit_bytes = 1 << 20);

/// True while a process with that pid exists and is not a zombie.
bool ProcessRuns(pid_t pid);

/// Start time of the process in clock ticks since boot: with the pid it names a process for good.
std::optional<std::uint64_t> ProcessStartTicks(pid_t pid);

}  // namespace vmferry::sys
