// SPDX-License-Identifier: Apache-2.0
//
// Caller: signs a request, sends it, understands the refusal, and repeats it within one budget.
//
// The budget is the context's deadline and RetryPolicy::attempts_max. Delays grow exponentially
// with full jitter; throttling waits longer than a broken connection. A clock that is wrong is
// noticed by the service's answer and corrected once, for all later calls as well.
//
// Thread safety: Call and SigningTime may be called from any number of threads.
// Source: AWS SDKs and Tools reference, "Retry behavior"; "Exponential Backoff And Jitter".

#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "aws/core/config.h"
#include "base/log.h"
#include "http/client.h"
#include "sys/clock.h"
#include "sys/random.h"

namespace vmferry::aws {

struct RetryPolicy {
  /// Sends at most, the first included.
  int attempts_max = 8;
  /// The first delay is chosen from 0 to this; the bound doubles with each attempt.
  std::chrono::milliseconds delay{200};
  /// The same after throttling.
  std::chrono::milliseconds throttled_delay{1000};
  std::chrono::milliseconds delay_max{20'000};
};

/// One API call, not yet signed.
struct ApiCall {
  Service service = Service::kS3;
  /// As AWS spells it: "PutObject". For messages and the log.
  std::string_view operation;
  /// Without Host and signature. The body must outlive the call.
  http::Request request;
  http::SendOptions send;
  sigv4::Options signing;
  /// Hex SHA-256 of the body, or sigv4::kUnsignedPayload.
  std::string payload_hash;
  /// False: repeated only when the request was surely not carried out.
  bool idempotent = true;
  /// Longest time for one attempt; the context's deadline holds as well.
  std::chrono::milliseconds attempt_timeout{120'000};
  /// Looks at each 2xx response. Its error is handled like the service's: repeated when it says so.
  std::function<Result<void>(const http::Response&)> check;
  /// Called before each attempt; for sinks that must begin anew.
  std::function<void()> restart;
};

class Caller {
 public:
  /// Everything borrowed must outlive the caller.
  Caller(http::Client& http, sys::Clock& clock, sys::Random& random, Log& log, Config config,
         RetryPolicy retry = {});

  /// The 2xx response.
  ///
  /// Errors: those of http::Client, of ErrorFromResponse, of call.check; with the facts service,
  ///         operation, attempts. OutcomeUnknown tells whether a call that is not idempotent may
  ///         have been carried out.
  Result<http::Response> Call(const ApiCall& call, const OpContext& context);

  const Config& config() const { return config_; }
  sys::Clock& clock() { return clock_; }
  /// The time to sign with: the clock's, corrected by what services told.
  WallTime SigningTime() const;

 private:
  Result<http::Response> Attempt(const ApiCall& call, const OpContext& context);
  bool CorrectClock(const Error& error);
  std::chrono::milliseconds Delay(const Error& error, int attempt);

  http::Client& http_;
  sys::Clock& clock_;
  sys::Random& random_;
  Log& log_;
  const Config config_;
  const RetryPolicy retry_;
  // Milliseconds to add to the clock. A lone value: relaxed order suffices.
  std::atomic<std::int64_t> clock_offset_ms_ = 0;
};

}  // namespace vmferry::aws
