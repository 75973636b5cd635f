// SPDX-License-Identifier: Apache-2.0
//
// Result<T> and Error: how every function that can fail says so.
//
// Spelled like std::expected, which our compilers do not have in C++20. Exceptions are not used
// for control flow: parsers of hostile input and retry code must show every way out.
//
// Thread safety: values; as safe as their content.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"

namespace vmferry {

/// Canonical error codes. Callers switch over them without `default`.
enum class ErrorCode {
  kInvalidArgument,
  kNotFound,
  kAlreadyExists,
  kPermissionDenied,
  kUnauthenticated,
  kResourceExhausted,
  kFailedPrecondition,
  kAborted,
  kOutOfRange,
  kUnimplemented,
  kInternal,
  kUnavailable,
  kDataLoss,
  kDeadlineExceeded,
  kCancelled,
};

/// The code's name in lower case with underscores: "invalid_argument".
std::string_view ErrorCodeName(ErrorCode code);

/// What a retry loop may do about an error. Set by the layer that knows.
enum class Retry {
  kNever,
  kTransient,           ///< The same request may succeed soon.
  kThrottled,           ///< As kTransient, but slow down first.
  kRefreshCredentials,  ///< Fetch new credentials, then repeat.
};

/// One failure: a code to switch on, a stable reason token, one sentence, facts, and its cause.
class Error {
 public:
  /// `reason` is a dotted token listed in docs/errors.md; `message` is one sentence in lower case
  /// without a full stop, with the offending values, never repeating the cause's text.
  Error(ErrorCode code, std::string_view reason, std::string message,
        const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : code_(code), reason_(reason), message_(std::move(message)), file_(file), line_(line) {}

  ErrorCode code() const { return code_; }
  const std::string& reason() const { return reason_; }
  const std::string& message() const { return message_; }
  Retry retry() const { return retry_; }
  /// What the user can do about it, one sentence; empty when nothing is known.
  const std::string& remedy() const { return remedy_; }
  const std::vector<std::pair<std::string, std::string>>& facts() const { return facts_; }
  /// The fact of that name, or nullptr.
  const std::string* FindFact(std::string_view key) const;
  const Error* cause() const { return cause_.get(); }
  const char* file() const { return file_; }
  int line() const { return line_; }

  /// Adds a fact: path, offset_bytes, bucket, request_id, http_status...
  Error With(std::string_view key, std::string_view value) &&;
  Error With(std::string_view key, std::uint64_t value) &&;
  Error WithRetry(Retry retry) &&;
  Error WithRemedy(std::string_view remedy) &&;
  Error CausedBy(Error cause) &&;

  /// "message: cause's message: ..." for logs and tests; the reporter in cli/ prints it in full.
  std::string ToString() const;

 private:
  ErrorCode code_;
  Retry retry_ = Retry::kNever;
  std::string reason_;
  std::string message_;
  std::string remedy_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::shared_ptr<const Error> cause_;  // immutable once set, so copies may share it
  const char* file_;
  int line_;
};

/// A value of T, or the Error that prevented it.
template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  template <typename U>
  requires(std::is_convertible_v<U&&, T> && !std::is_same_v<std::remove_cvref_t<U>, T> &&
           !std::is_same_v<std::remove_cvref_t<U>, Error> &&
           !std::is_same_v<std::remove_cvref_t<U>, Result>) Result(U&& value)
      : state_(std::in_place_index<0>, T(std::forward<U>(value))) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    VMFERRY_CHECK(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    VMFERRY_CHECK(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    VMFERRY_CHECK(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  Error& error() & {
    VMFERRY_CHECK(!has_value());
    return std::get<1>(state_);
  }
  const Error& error() const& {
    VMFERRY_CHECK(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    VMFERRY_CHECK(!has_value());
    return std::get<1>(std::move(state_));
  }

  template <typename U>
  T value_or(U&& fallback) const& {
    return has_value() ? value() : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  std::variant<T, Error> state_;
};

/// Success without a value, or the Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const { VMFERRY_CHECK(has_value()); }

  Error& error() & {
    VMFERRY_CHECK(!has_value());
    return *error_;
  }
  const Error& error() const& {
    VMFERRY_CHECK(!has_value());
    return *error_;
  }
  Error&& error() && {
    VMFERRY_CHECK(!has_value());
    return *std::move(error_);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace vmferry

#define VMFERRY_CONCAT_INNER(a, b) a##b
#define VMFERRY_CONCAT(a, b) VMFERRY_CONCAT_INNER(a, b)

/// Returns the error of `expr` (a Result<void>) from the enclosing function.
#define VMFERRY_RETURN_IF_ERROR(expr) \
  VMFERRY_RETURN_IF_ERROR_(expr, VMFERRY_CONCAT(r_, __COUNTER__))
#define VMFERRY_RETURN_IF_ERROR_(expr, temporary)          \
  do {                                                     \
    if (auto temporary = (expr); !temporary.has_value()) { \
      return std::move(temporary).error();                 \
    }                                                      \
  } while (false)

/// Declares or assigns `decl` from `expr` (a Result<T>), or returns its error.
#define VMFERRY_ASSIGN_OR_RETURN(decl, expr) \
  VMFERRY_ASSIGN_OR_RETURN_(decl, expr, VMFERRY_CONCAT(r_, __COUNTER__))
#define VMFERRY_ASSIGN_OR_RETURN_(decl, expr, temporary)           \
  auto temporary = (expr);                                         \
  if (!temporary.has_value()) return std::move(temporary).error(); \
  decl = std::move(temporary).value()
