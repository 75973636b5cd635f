// SPDX-License-Identifier: Apache-2.0
#include "region/core/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "base/mutex.h"
#include "region/core/database.h"

namespace vmferry::region {
namespace {

constexpr std::array<std::pair<FaultKind, std::string_view>, 10> kKinds = {{
    {FaultKind::kError, "error"},
    {FaultKind::kCut, "cut"},
    {FaultKind::kCutAfter, "cut-after"},
    {FaultKind::kDelay, "delay"},
    {FaultKind::kFail, "fail"},
    {FaultKind::kForeignBucket, "foreign-bucket"},
    {FaultKind::kThrottle, "throttle"},
    {FaultKind::kServerError, "server-error"},
    {FaultKind::kUnavailable, "unavailable"},
    {FaultKind::kExpiredToken, "expired-token"},
}};

constexpr const char* kMigrations[] = {
    "CREATE TABLE fault_rules (id INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL,"
    " kind TEXT NOT NULL, skip INTEGER NOT NULL, remaining INTEGER NOT NULL,"
    " status INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,"
    " delay_ms INTEGER NOT NULL)",
    "ALTER TABLE fault_rules ADD COLUMN rate_ppm INTEGER NOT NULL DEFAULT 1000000",
    "ALTER TABLE fault_rules ADD COLUMN seed INTEGER NOT NULL DEFAULT 0",
};

struct Words {
  FaultKind kind;
  std::string_view service;  // "": any other
  int status;
  std::string_view code;
  std::string_view message;
};

// Sources: S3 API reference, "Error responses"; EC2 API reference, "Error codes"; botocore's model
// of the EBS direct APIs; "Common errors" of STS and IAM.
constexpr std::array kWords = {
    Words{FaultKind::kThrottle, "s3", 503, "SlowDown", "Please reduce your request rate."},
    Words{FaultKind::kThrottle, "ec2", 503, "RequestLimitExceeded", "Request limit exceeded."},
    Words{FaultKind::kThrottle, "ebs", 400, "RequestThrottledException", "Rate exceeded"},
    Words{FaultKind::kThrottle, "", 400, "Throttling", "Rate exceeded"},
    Words{FaultKind::kServerError, "s3", 500, "InternalError",
          "We encountered an internal error. Please try again."},
    Words{FaultKind::kServerError, "ec2", 500, "InternalError", "An internal error has occurred"},
    Words{FaultKind::kServerError, "ebs", 500, "InternalServerException",
          "An internal error has occurred."},
    Words{FaultKind::kServerError, "", 500, "InternalFailure",
          "The request processing has failed because of an unknown error."},
    Words{FaultKind::kUnavailable, "ec2", 503, "Unavailable",
          "The service is unavailable. Please try again shortly."},
    Words{FaultKind::kUnavailable, "", 503, "ServiceUnavailable",
          "The service is unavailable. Please try again."},
    Words{FaultKind::kExpiredToken, "s3", 400, "ExpiredToken", "The provided token has expired."},
    Words{FaultKind::kExpiredToken, "ec2", 400, "RequestExpired", "Request has expired."},
    Words{FaultKind::kExpiredToken, "ebs", 403, "ExpiredTokenException",
          "The security token included in the request is expired"},
    Words{FaultKind::kExpiredToken, "", 403, "ExpiredToken",
          "The security token included in the request is expired"},
};

constexpr std::string_view kColumns =
    "id, operation, kind, skip, remaining, status, code, message, delay_ms, rate_ppm, seed";

constexpr std::int64_t kRulesMax = 1000;
constexpr std::int64_t kAlwaysPpm = 1'000'000;

// splitmix64: spreads the count of a rule's occasions over all numbers.
std::uint64_t Mixed(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

FaultRule RuleOf(const SqlRow& row) {
  FaultRule rule;
  rule.id = row.Int(0);
  rule.operation = row.Text(1);
  rule.kind = ParseFaultKind(row.Text(2)).value_or(FaultKind::kError);
  rule.skip = row.Int(3);
  rule.remaining = row.Int(4);
  rule.status = static_cast<int>(row.Int(5));
  rule.code = row.Text(6);
  rule.message = row.Text(7);
  rule.delay_ms = row.Int(8);
  rule.rate_ppm = row.Int(9);
  rule.seed = row.Uint(10);
  return rule;
}

Error BadFault(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "region.bad_fault", std::move(message))
      .WithRemedy("docs/region.md lists the kinds of faults and what they take");
}

Result<void> Validate(const FaultRule& rule) {
  if (rule.operation.empty()) return BadFault("a fault rule needs an operation");
  if (rule.remaining < -1 || rule.remaining == 0 || rule.skip < 0) {
    return BadFault(
        fmt::format("a fault rule cannot skip {} and hit {} times", rule.skip, rule.remaining));
  }
  if (rule.status < 400 || rule.status > 599) {
    return BadFault(fmt::format("{} is not the status of an error", rule.status));
  }
  if (rule.delay_ms < 0 || rule.delay_ms > 600'000) {
    return BadFault(fmt::format("a delay of {} ms is outside 0 to 600000", rule.delay_ms));
  }
  if (rule.rate_ppm < 1 || rule.rate_ppm > kAlwaysPpm) {
    return BadFault("a rate lies above 0 and is at most 1");
  }
  return {};
}

}  // namespace

std::string_view FaultKindName(FaultKind kind) {
  for (const auto& [value, name] : kKinds) {
    if (value == kind) return name;
  }
  return "error";
}

std::optional<FaultKind> ParseFaultKind(std::string_view name) {
  for (const auto& [value, text] : kKinds) {
    if (text == name) return value;
  }
  return std::nullopt;
}

FaultWords WordsOf(const FaultRule& rule, std::string_view service) {
  const auto found = std::ranges::find_if(kWords, [&](const Words& words) {
    return words.kind == rule.kind && (words.service == service || words.service.empty());
  });
  if (found == kWords.end()) return {rule.status, rule.code, rule.message};
  return {found->status, std::string(found->code), std::string(found->message)};
}

// Rules are few and read by every request: they lie in memory, and what counts down is written
// through to the database.
struct FaultRules::State {
  explicit State(Database& database_in) : database(database_in) {}

  struct Loaded {
    FaultRule rule;
    std::uint64_t occasions = 0;  // since the region was started
  };

  Result<void> Load() {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found, database.WithTransaction([&](Transaction& transaction) {
          return transaction.Query(
              fmt::format("SELECT {} FROM fault_rules ORDER BY id LIMIT {}", kColumns, kRulesMax));
        }));
    const MutexLock lock(mutex);
    std::vector<Loaded> fresh;
    for (const SqlRow& row : found) {
      Loaded loaded{RuleOf(row), 0};
      for (const Loaded& old : rules) {
        if (old.rule.id == loaded.rule.id) loaded = old;
      }
      fresh.push_back(std::move(loaded));
    }
    rules = std::move(fresh);
    // Release pairs with the acquire in Take: a request after Add sees the rule.
    count.store(static_cast<std::int64_t>(rules.size()), std::memory_order_release);
    return {};
  }

  /// The first rule that hits now, counted down in memory; `changed` when the database must follow.
  std::optional<FaultRule> Hit(std::string_view operation, std::vector<FaultRule>& changed) {
    // Stages of tasks have a dot in their names; "*" is any operation, not any stage.
    const bool stage = operation.find('.') != operation.npos;
    const MutexLock lock(mutex);
    for (auto loaded = rules.begin(); loaded != rules.end(); ++loaded) {
      FaultRule& rule = loaded->rule;
      const bool any = rule.operation == "*" && rule.kind != FaultKind::kFail && !stage;
      if (rule.kind == FaultKind::kForeignBucket || (rule.operation != operation && !any)) continue;
      if (rule.skip > 0) {
        --rule.skip;
        changed.push_back(rule);
        continue;
      }
      if (rule.rate_ppm < kAlwaysPpm &&
          Mixed(rule.seed ^ Mixed(loaded->occasions++)) % kAlwaysPpm >=
              static_cast<std::uint64_t>(rule.rate_ppm)) {
        continue;
      }
      FaultRule hit = rule;
      if (rule.remaining > 0) {
        --rule.remaining;
        changed.push_back(rule);
        if (rule.remaining == 0) rules.erase(loaded);
      }
      count.store(static_cast<std::int64_t>(rules.size()), std::memory_order_release);
      return hit;
    }
    return std::nullopt;
  }

  Result<void> Save(const std::vector<FaultRule>& changed) {
    return database.WithTransaction([&](Transaction& transaction) -> Result<void> {
      for (const FaultRule& rule : changed) {
        // Two requests may come here in another order than they counted in: never count up.
        VMFERRY_RETURN_IF_ERROR(transaction.Execute(
            "UPDATE fault_rules SET skip = MIN(skip, ?), remaining = MIN(remaining, ?)"
            " WHERE id = ?",
            {rule.skip, rule.remaining, rule.id}));
      }
      VMFERRY_RETURN_IF_ERROR(transaction.Execute("DELETE FROM fault_rules WHERE remaining = 0"));
      return {};
    });
  }

  Database& database;
  Mutex mutex;
  std::vector<Loaded> rules VMFERRY_GUARDED_BY(mutex);  // at most kRulesMax
  std::atomic<std::int64_t> count{0};                   // of rules
};

FaultRules::FaultRules(std::unique_ptr<State> state) : state_(std::move(state)) {}
FaultRules::~FaultRules() = default;

Result<std::unique_ptr<FaultRules>> FaultRules::Open(Database& database) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("faults", kMigrations));
  auto state = std::make_unique<State>(database);
  VMFERRY_RETURN_IF_ERROR(state->Load());
  return std::unique_ptr<FaultRules>(new FaultRules(std::move(state)));
}

std::optional<FaultRule> FaultRules::Take(std::string_view operation) {
  if (operation.empty() || state_->count.load(std::memory_order_acquire) == 0) return std::nullopt;
  std::vector<FaultRule> changed;
  std::optional<FaultRule> hit = state_->Hit(operation, changed);
  // A broken database shows itself in the operation proper.
  if (!changed.empty()) (void)state_->Save(changed);
  return hit;
}

bool FaultRules::IsForeignBucket(std::string_view bucket) {
  if (state_->count.load(std::memory_order_acquire) == 0) return false;
  const MutexLock lock(state_->mutex);
  return std::ranges::any_of(state_->rules, [&](const State::Loaded& loaded) {
    return loaded.rule.kind == FaultKind::kForeignBucket && loaded.rule.operation == bucket;
  });
}

Result<std::int64_t> FaultRules::Add(const FaultRule& rule) {
  VMFERRY_RETURN_IF_ERROR(Validate(rule));
  if (state_->count.load(std::memory_order_acquire) >= kRulesMax) {
    return BadFault(fmt::format("there are {} fault rules already", kRulesMax));
  }
  auto added =
      state_->database.WithTransaction([&](Transaction& transaction) -> Result<std::int64_t> {
        VMFERRY_RETURN_IF_ERROR(transaction.Execute(
            "INSERT INTO fault_rules (operation, kind, skip, remaining, status, code, message,"
            " delay_ms, rate_ppm, seed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            {rule.operation, FaultKindName(rule.kind), rule.skip, rule.remaining, rule.status,
             rule.code, rule.message, rule.delay_ms, rule.rate_ppm, rule.seed}));
        VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                                 transaction.Query("SELECT last_insert_rowid()"));
        return rows.at(0).Int(0);
      });
  VMFERRY_RETURN_IF_ERROR(state_->Load());
  return added;
}

Result<std::vector<FaultRule>> FaultRules::List() {
  return state_->database.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<FaultRule>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query(fmt::format("SELECT {} FROM fault_rules ORDER BY id LIMIT {}",
                                          kColumns, kRulesMax)));
        std::vector<FaultRule> rules;
        for (const SqlRow& row : rows) rules.push_back(RuleOf(row));
        return rules;
      });
}

Result<std::int64_t> FaultRules::Clear(std::int64_t id) {
  auto removed = state_->database.WithTransaction([&](Transaction& transaction) {
    return transaction.Execute("DELETE FROM fault_rules WHERE id = ?1 OR ?1 = 0", {id});
  });
  VMFERRY_RETURN_IF_ERROR(state_->Load());
  return removed;
}

}  // namespace vmferry::region
