// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <cstdio>
#include <cstdlib>

namespace vmferry {

namespace internal {
void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "vmferry: internal error: %s does not hold (%s:%d)\n", condition, file,
               line);
  std::abort();
}
}  // namespace internal

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kAlreadyExists:
      return "already_exists";
    case ErrorCode::kPermissionDenied:
      return "permission_denied";
    case ErrorCode::kUnauthenticated:
      return "unauthenticated";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kFailedPrecondition:
      return "failed_precondition";
    case ErrorCode::kAborted:
      return "aborted";
    case ErrorCode::kOutOfRange:
      return "out_of_range";
    case ErrorCode::kUnimplemented:
      return "unimplemented";
    case ErrorCode::kInternal:
      return "internal";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kDataLoss:
      return "data_loss";
    case ErrorCode::kDeadlineExceeded:
      return "deadline_exceeded";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

const std::string* Error::FindFact(std::string_view key) const {
  for (const auto& fact : facts_) {
    if (fact.first == key) return &fact.second;
  }
  return cause_ ? cause_->FindFact(key) : nullptr;
}

Error Error::With(std::string_view key, std::string_view value) && {
  facts_.emplace_back(key, value);
  return std::move(*this);
}

Error Error::With(std::string_view key, std::uint64_t value) && {
  return std::move(*this).With(key, std::string_view(std::to_string(value)));
}

Error Error::WithRetry(Retry retry) && {
  retry_ = retry;
  return std::move(*this);
}

Error Error::WithRemedy(std::string_view remedy) && {
  remedy_ = remedy;
  return std::move(*this);
}

Error Error::CausedBy(Error cause) && {
  cause_ = std::make_shared<const Error>(std::move(cause));
  return std::move(*this);
}

std::string Error::ToString() const {
  std::string text = message_ + " [" + reason_ + "]";
  if (cause_) text += ": " + cause_->ToString();
  return text;
}

}  // namespace vmferry
