// SPDX-License-Identifier: Apache-2.0
#include "aws/core/caller.h"

#include <fmt/format.h>

#include <algorithm>

#include "aws/core/error.h"
#include "base/units.h"

namespace vmferry::aws {
namespace {

// Services accept signatures 15 minutes old; a smaller difference is not what they complained of.
constexpr std::chrono::milliseconds kSkewMin = std::chrono::minutes(2);

// "Sun, 22 Nov 2026 03:58:15 GMT" (RFC 9110, 5.6.7, IMF-fixdate).
std::optional<WallTime> ParseHttpDate(std::string_view text) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text.size() != 29 || !text.ends_with(" GMT") || text.substr(3, 2) != ", ") return {};
  const auto day = ParseUint(text.substr(5, 2)), year = ParseUint(text.substr(12, 4));
  const auto hour = ParseUint(text.substr(17, 2)), minute = ParseUint(text.substr(20, 2));
  const auto second = ParseUint(text.substr(23, 2));
  const std::size_t month = kMonths.find(text.substr(8, 3));
  if (!day || !year || !hour || !minute || !second || month == kMonths.npos || month % 3 != 0) {
    return {};
  }
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(month / 3 + 1)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (*year < 1970 || *year > 2261) return {};  // beyond is past the clock's range
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return {};
  return WallTime(std::chrono::sys_days(date) + std::chrono::hours(*hour) +
                  std::chrono::minutes(*minute) + std::chrono::seconds(*second));
}

bool MayRepeat(const ApiCall& call, const Error& error) {
  switch (error.retry()) {
    case Retry::kNever:
    case Retry::kRefreshCredentials:  // the keys of a Config do not change
      return false;
    case Retry::kThrottled:  // refused before anything was done
      return true;
    case Retry::kTransient:
      return call.idempotent || !OutcomeUnknown(error);
  }
  return false;
}

}  // namespace

Caller::Caller(http::Client& http, sys::Clock& clock, sys::Random& random, Log& log, Config config,
               RetryPolicy retry)
    : http_(http),
      clock_(clock),
      random_(random),
      log_(log),
      config_(std::move(config)),
      retry_(retry) {}

WallTime Caller::SigningTime() const {
  return clock_.WallNow() +
         std::chrono::milliseconds(clock_offset_ms_.load(std::memory_order_relaxed));
}

Result<http::Response> Caller::Attempt(const ApiCall& call, const OpContext& context) {
  http::Request request = call.request;
  request.headers.Set("Host", request.url.HostHeader());
  const sigv4::RequestView view = {.method = request.method,
                                   .path = request.url.path,
                                   .query = request.url.query,
                                   .headers = request.headers.fields(),
                                   .payload_hash = call.payload_hash};
  const auto added = sigv4::SignHeaders(view, config_.credentials,
                                        {.region = config_.region,
                                         .service = ServiceName(call.service),
                                         .time = SigningTime(),
                                         .options = call.signing});
  for (const auto& [name, value] : added) request.headers.Set(name, value);

  const OpContext attempt = context.WithDeadline(clock_.DeadlineIn(call.attempt_timeout));
  VMFERRY_ASSIGN_OR_RETURN(http::Response response, http_.Send(request, call.send, attempt));
  const bool succeeded = response.status >= 200 && response.status < 300;
  log_.Debug("aws call", {{"service", ServiceName(call.service)},
                          {"operation", call.operation},
                          {"http_status", static_cast<std::uint64_t>(response.status)},
                          {"request_id", RequestId(response)}});
  if (!succeeded) {
    Error error = ErrorFromResponse(call.service, call.operation, response);
    const auto date = response.headers.Find("Date");
    if (date && error.reason() == "aws.clock_skew") {
      error = std::move(error).With("server_date", *date);
    }
    return error;
  }
  if (call.check) {
    if (auto checked = call.check(response); !checked) {
      return std::move(checked).error().With("request_id", RequestId(response));
    }
  }
  return response;
}

bool Caller::CorrectClock(const Error& error) {
  const std::string* date = error.FindFact("server_date");
  if (error.reason() != "aws.clock_skew" || date == nullptr) return false;
  const auto server = ParseHttpDate(*date);
  if (!server) return false;
  const auto wrong_by =
      std::chrono::duration_cast<std::chrono::milliseconds>(*server - SigningTime());
  if (wrong_by < kSkewMin && wrong_by > -kSkewMin) return false;
  const auto offset =
      std::chrono::duration_cast<std::chrono::milliseconds>(*server - clock_.WallNow());
  clock_offset_ms_.store(offset.count(), std::memory_order_relaxed);
  log_.Warn("clock differs from the service's",
            {{"seconds", std::to_string(offset.count() / 1000)}});
  return true;
}

std::chrono::milliseconds Caller::Delay(const Error& error, int attempt) {
  auto bound = error.retry() == Retry::kThrottled ? retry_.throttled_delay : retry_.delay;
  for (int i = 1; i < attempt && bound < retry_.delay_max; ++i) bound *= 2;
  bound = std::min(bound, retry_.delay_max);
  return std::chrono::milliseconds(random_.Below(static_cast<std::uint64_t>(bound.count()) + 1));
}

Result<http::Response> Caller::Call(const ApiCall& call, const OpContext& context) {
  bool clock_corrected = false;
  for (int attempt = 1;; ++attempt) {
    if (call.restart) call.restart();
    Result<http::Response> result = Attempt(call, context);
    if (result) return result;
    Error error = std::move(result).error();
    const auto finish = [&] {
      return std::move(error)
          .With("service", ServiceName(call.service))
          .With("operation", call.operation)
          .With("attempts", static_cast<std::uint64_t>(attempt));
    };
    if (attempt >= retry_.attempts_max || context.stop.stop_requested()) return finish();
    if (!clock_corrected && CorrectClock(error)) {
      clock_corrected = true;
      continue;
    }
    if (!MayRepeat(call, error)) return finish();
    const auto delay = Delay(error, attempt);
    if (context.deadline.Passed(clock_.MonotonicNow() + delay)) return finish();
    log_.Debug("aws call repeated", {{"operation", call.operation},
                                     {"reason", error.reason()},
                                     {"attempt", static_cast<std::uint64_t>(attempt)},
                                     {"delay_ms", static_cast<std::uint64_t>(delay.count())}});
    clock_.SleepFor(delay, context);
    if (context.stop.stop_requested()) return finish();
  }
}

}  // namespace vmferry::aws
