// SPDX-License-Identifier: Apache-2.0
#include "region/core/faults.h"

#include <fmt/format.h>

#include <array>
#include <atomic>

#include "region/core/database.h"

namespace vmferry::region {
namespace {

constexpr std::array<std::pair<FaultKind, std::string_view>, 6> kKinds = {{
    {FaultKind::kError, "error"},
    {FaultKind::kCut, "cut"},
    {FaultKind::kCutAfter, "cut-after"},
    {FaultKind::kDelay, "delay"},
    {FaultKind::kFail, "fail"},
    {FaultKind::kForeignBucket, "foreign-bucket"},
}};

constexpr const char* kMigrations[] = {
    "CREATE TABLE fault_rules (id INTEGER PRIMARY KEY AUTOINCREMENT, operation TEXT NOT NULL,"
    " kind TEXT NOT NULL, skip INTEGER NOT NULL, remaining INTEGER NOT NULL,"
    " status INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,"
    " delay_ms INTEGER NOT NULL)",
};

constexpr std::string_view kColumns =
    "id, operation, kind, skip, remaining, status, code, message, delay_ms";

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

struct FaultRules::State {
  explicit State(Database& database_in) : database(database_in) {}

  /// Hits the first matching rule inside a transaction.
  Result<std::optional<FaultRule>> TakeIn(Transaction& transaction, std::string_view operation) {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> rows,
        transaction.Query(fmt::format("SELECT {} FROM fault_rules WHERE kind <> 'foreign-bucket'"
                                      " AND (operation = ? OR operation = '*') ORDER BY id",
                                      kColumns),
                          {operation}));
    for (const SqlRow& row : rows) {
      FaultRule rule = RuleOf(row);
      if (rule.operation == "*" && rule.kind == FaultKind::kFail) continue;
      if (rule.skip > 0) {
        VMFERRY_RETURN_IF_ERROR(
            transaction.Execute("UPDATE fault_rules SET skip = skip - 1 WHERE id = ?", {rule.id}));
        continue;
      }
      if (rule.remaining > 0) {
        const char* sql = rule.remaining == 1
                              ? "DELETE FROM fault_rules WHERE id = ?"
                              : "UPDATE fault_rules SET remaining = remaining - 1 WHERE id = ?";
        VMFERRY_RETURN_IF_ERROR(transaction.Execute(sql, {rule.id}));
      }
      return std::optional<FaultRule>(std::move(rule));
    }
    return std::optional<FaultRule>();
  }

  Result<void> Recount() {
    return database.WithTransaction([&](Transaction& transaction) -> Result<void> {
      VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                               transaction.Query("SELECT COUNT(*) FROM fault_rules"));
      // Release pairs with the acquire in Take: a request after Add sees the rule.
      count.store(rows.at(0).Int(0), std::memory_order_release);
      return {};
    });
  }

  Database& database;
  std::atomic<std::int64_t> count{0};  // rules in the table
};

FaultRules::FaultRules(std::unique_ptr<State> state) : state_(std::move(state)) {}
FaultRules::~FaultRules() = default;

Result<std::unique_ptr<FaultRules>> FaultRules::Open(Database& database) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("faults", kMigrations));
  auto state = std::make_unique<State>(database);
  VMFERRY_RETURN_IF_ERROR(state->Recount());
  return std::unique_ptr<FaultRules>(new FaultRules(std::move(state)));
}

std::optional<FaultRule> FaultRules::Take(std::string_view operation) {
  if (operation.empty() || state_->count.load(std::memory_order_acquire) == 0) return std::nullopt;
  auto taken = state_->database.WithTransaction(
      [&](Transaction& transaction) { return state_->TakeIn(transaction, operation); });
  (void)state_->Recount();
  // A broken database shows itself in the operation proper.
  return taken ? std::move(taken).value() : std::nullopt;
}

bool FaultRules::IsForeignBucket(std::string_view bucket) {
  if (state_->count.load(std::memory_order_acquire) == 0) return false;
  auto found = state_->database.WithTransaction([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT 1 FROM fault_rules WHERE kind = 'foreign-bucket' AND operation = ? LIMIT 1",
        {bucket});
  });
  return found && !found->empty();
}

Result<std::int64_t> FaultRules::Add(const FaultRule& rule) {
  VMFERRY_RETURN_IF_ERROR(Validate(rule));
  auto added =
      state_->database.WithTransaction([&](Transaction& transaction) -> Result<std::int64_t> {
        VMFERRY_RETURN_IF_ERROR(transaction.Execute(
            "INSERT INTO fault_rules (operation, kind, skip, remaining, status, code, message,"
            " delay_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            {rule.operation, FaultKindName(rule.kind), rule.skip, rule.remaining, rule.status,
             rule.code, rule.message, rule.delay_ms}));
        VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                                 transaction.Query("SELECT last_insert_rowid()"));
        return rows.at(0).Int(0);
      });
  VMFERRY_RETURN_IF_ERROR(state_->Recount());
  return added;
}

Result<std::vector<FaultRule>> FaultRules::List() {
  return state_->database.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<FaultRule>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query(
                fmt::format("SELECT {} FROM fault_rules ORDER BY id LIMIT 1000", kColumns)));
        std::vector<FaultRule> rules;
        for (const SqlRow& row : rows) rules.push_back(RuleOf(row));
        return rules;
      });
}

Result<std::int64_t> FaultRules::Clear(std::int64_t id) {
  auto removed = state_->database.WithTransaction([&](Transaction& transaction) {
    return transaction.Execute("DELETE FROM fault_rules WHERE id = ?1 OR ?1 = 0", {id});
  });
  VMFERRY_RETURN_IF_ERROR(state_->Recount());
  return removed;
}

}  // namespace vmferry::region
