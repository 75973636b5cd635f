// SPDX-License-Identifier: Apache-2.0
//
// FaultRules: failures asked for by tests and demonstrations (`vmferry region faults`).
//
// A rule names an operation (or a stage of an import) and what shall go wrong how often. Rules
// live in the database: they survive a restart, counted down where they were.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vmferry::region {

class Database;

/// Stored in the database by name: never rename.
enum class FaultKind {
  kError,          ///< "error": an error answer instead of the operation
  kCut,            ///< "cut": the connection is cut before the operation
  kCutAfter,       ///< "cut-after": the operation is done, the connection is cut before the answer
  kDelay,          ///< "delay": the operation waits first
  kFail,           ///< "fail": for stages of a task: the task fails there with `message`
  kForeignBucket,  ///< "foreign-bucket": the bucket named by `operation` belongs to somebody else
  // The following are errors in the words of whatever service is hit.
  kThrottle,      ///< "throttle": too many requests
  kServerError,   ///< "server-error": an internal error, status 500
  kUnavailable,   ///< "unavailable": status 503
  kExpiredToken,  ///< "expired-token": the session's credentials have expired
};

struct FaultRule {
  std::int64_t id = 0;
  /// "PutObject", "ImportInstance", a stage such as "import.convert", a bucket name; "*" is any
  /// operation.
  std::string operation;
  FaultKind kind = FaultKind::kError;
  std::int64_t skip = 0;          ///< let so many pass first
  std::int64_t remaining = 1;     ///< then hit so many; -1: for ever
  int status = 503;               ///< kError
  std::string code = "SlowDown";  ///< kError
  std::string message = "Please reduce your request rate.";
  std::int64_t delay_ms = 0;  ///< kDelay
  /// Of a million times that the rule could hit, how many it does. Which ones follows from `seed`
  /// and from how many there were since the region was started.
  std::int64_t rate_ppm = 1'000'000;
  std::uint64_t seed = 0;
};

/// What an error rule answers to a service's client.
struct FaultWords {
  int status = 503;
  std::string code;
  std::string message;
};
/// For kinds that are errors. `service` is "s3", "ec2", "ebs", "sts", "iam".
FaultWords WordsOf(const FaultRule& rule, std::string_view service);

class FaultRules {
 public:
  /// Makes the table. The database outlives this.
  static Result<std::unique_ptr<FaultRules>> Open(Database& database);
  ~FaultRules();
  FaultRules(const FaultRules&) = delete;
  FaultRules& operator=(const FaultRules&) = delete;

  /// The first rule that hits this operation now, counted down durably; nothing in the usual case
  /// (no rules: costs one atomic read).
  std::optional<FaultRule> Take(std::string_view operation);
  /// True while a rule of kind kForeignBucket names the bucket.
  bool IsForeignBucket(std::string_view bucket);

  /// Returns the rule's id. Errors: kInvalidArgument region.bad_fault.
  Result<std::int64_t> Add(const FaultRule& rule);
  Result<std::vector<FaultRule>> List();
  /// Removes one rule, or all for id 0; returns how many.
  Result<std::int64_t> Clear(std::int64_t id);

 private:
  struct State;
  explicit FaultRules(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

std::string_view FaultKindName(FaultKind kind);
std::optional<FaultKind> ParseFaultKind(std::string_view name);

}  // namespace vmferry::region
