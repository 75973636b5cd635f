// SPDX-License-Identifier: Apache-2.0
//
// RequestLog: one JSON line per request, in requests.jsonl. When that has grown to 64 MiB, it
// becomes requests.jsonl.1, in place of the one of before.
//
// A line is written by one append before the reply is sent: a client that saw a reply finds its
// line. Not synced: a power cut may take the last lines, a killed process does not. Between effect
// and line a kill can lose the line of a request that was never answered.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "base/mutex.h"
#include "base/result.h"
#include "base/units.h"
#include "region/core/service.h"
#include "sys/clock.h"
#include "sys/file.h"

namespace vmferry::region {

class RequestLog {
 public:
  /// Opens the file for appending, after cutting off an unfinished last line.
  static Result<std::unique_ptr<RequestLog>> Open(const std::filesystem::path& path,
                                                  const sys::Clock& clock,
                                                  std::uint64_t bytes_max = 64 * kMiB);

  /// Signatures, credentials and tokens of the query are left out.
  void Write(const Call& call, const Answer& answer, std::chrono::microseconds duration,
             std::string_view fault);

 private:
  RequestLog(sys::File file, const sys::Clock& clock, std::uint64_t bytes, std::uint64_t bytes_max)
      : clock_(clock), bytes_max_(bytes_max), file_(std::move(file)), bytes_(bytes) {}
  void Rotate() VMFERRY_REQUIRES(mutex_);

  const sys::Clock& clock_;
  const std::uint64_t bytes_max_;
  Mutex mutex_;
  sys::File file_ VMFERRY_GUARDED_BY(mutex_);
  std::uint64_t bytes_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::region
