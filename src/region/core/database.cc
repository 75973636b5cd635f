// SPDX-License-Identifier: Apache-2.0
#include "region/core/database.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/mutex.h"
#include "sqlite/database.h"

namespace vmferry::region {
namespace {

// The region's services use far fewer statements; the bound is against texts built at run time.
constexpr std::size_t kCachedStatementsMax = 512;

// SQLite reads columns past the last as NULL, and so does SqlRow: rows are kept up to their last
// value. No statement of the region selects more columns.
constexpr int kColumnsMax = 48;

const std::string kEmpty;

Error Classified(Error error) {
  if (error.message().find("UNIQUE constraint failed") == std::string::npos) return error;
  return Error(ErrorCode::kAlreadyExists, "region.database_conflict",
               "a record with the same key exists")
      .CausedBy(std::move(error));
}

SqlValue ColumnValue(const sqlite::Statement& statement, int column) {
  if (statement.IsNull(column)) return nullptr;
  return statement.Text(column);
}

}  // namespace

bool SqlRow::IsNull(std::size_t column) const {
  return column >= values_.size() ||
         std::holds_alternative<std::monostate>(values_[column].value());
}

std::int64_t SqlRow::Int(std::size_t column) const {
  if (column >= values_.size()) return 0;
  const auto& value = values_[column].value();
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
  const auto* text = std::get_if<std::string>(&value);
  return text == nullptr ? 0 : std::strtoll(text->c_str(), nullptr, 10);
}

std::uint64_t SqlRow::Uint(std::size_t column) const {
  return static_cast<std::uint64_t>(Int(column));
}

const std::string& SqlRow::Text(std::size_t column) const {
  if (column >= values_.size()) return kEmpty;
  const auto* text = std::get_if<std::string>(&values_[column].value());
  return text == nullptr ? kEmpty : *text;
}

struct Database::State final : Transaction {
  explicit State(sqlite::Connection opened) : connection(std::move(opened)) {}

  Result<std::int64_t> Execute(std::string_view sql, std::vector<SqlValue> values) override {
    VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement * statement, Prepared(sql, values));
    Result<void> outcome = statement->Run();
    statement->Reset();
    if (!outcome) return Classified(std::move(outcome).error());
    return connection.Changes();
  }

  Result<std::vector<SqlRow>> Query(std::string_view sql, std::vector<SqlValue> values) override {
    VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement * statement, Prepared(sql, values));
    std::vector<SqlRow> rows;
    while (true) {
      Result<bool> more = statement->Step();
      if (!more || !*more) {
        statement->Reset();
        if (!more) return std::move(more).error();
        return rows;
      }
      std::vector<SqlValue> columns;
      int count = kColumnsMax;
      while (count > 0 && statement->IsNull(count - 1)) --count;
      columns.reserve(static_cast<std::size_t>(count));
      for (int i = 0; i < count; ++i) columns.push_back(ColumnValue(*statement, i));
      rows.emplace_back(std::move(columns));
    }
  }

  /// The statement, prepared once per text, with the values bound.
  Result<sqlite::Statement*> Prepared(std::string_view sql, const std::vector<SqlValue>& values) {
    auto found = statements.find(std::string(sql));
    if (found == statements.end()) {
      if (statements.size() >= kCachedStatementsMax) statements.clear();
      VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement statement, connection.Prepare(sql));
      found = statements.emplace(std::string(sql), std::move(statement)).first;
    }
    int position = 0;
    for (const SqlValue& value : values) {
      ++position;
      if (const auto* number = std::get_if<std::int64_t>(&value.value())) {
        found->second.Bind(position, *number);
      } else if (const auto* text = std::get_if<std::string>(&value.value())) {
        found->second.Bind(position, std::string_view(*text));
      } else {
        found->second.BindNull(position);
      }
    }
    return &found->second;
  }

  Mutex mutex;
  sqlite::Connection connection;
  std::unordered_map<std::string, sqlite::Statement> statements;  // destroyed before connection
};

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

Result<std::unique_ptr<Database>> Database::Open(const std::filesystem::path& path) {
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Connection connection, sqlite::Connection::Open(path));
  return std::unique_ptr<Database>(new Database(std::make_unique<State>(std::move(connection))));
}

Result<void> Database::Migrate(std::string_view component,
                               std::span<const char* const> statements) {
  std::vector<sqlite::Migration> migrations;
  int version = 0;
  for (const char* sql : statements) migrations.push_back({++version, sql});
  const MutexLock lock(state_->mutex);
  return state_->connection.Migrate(component, migrations);
}

// The lock is held from here to the destructor, which the analysis cannot follow.
Database::Scope::Scope(Database& database) VMFERRY_THREAD_ATTRIBUTE(no_thread_safety_analysis)
    : database_(database) {
  database_.state_->mutex.lock();
}

Database::Scope::~Scope() VMFERRY_THREAD_ATTRIBUTE(no_thread_safety_analysis) {
  if (open_) (void)database_.state_->connection.Execute("ROLLBACK");
  database_.state_->mutex.unlock();
}

Result<void> Database::Scope::Begin() {
  VMFERRY_RETURN_IF_ERROR(database_.state_->connection.Execute("BEGIN IMMEDIATE"));
  open_ = true;
  return {};
}

Result<void> Database::Scope::Commit() {
  VMFERRY_RETURN_IF_ERROR(database_.state_->connection.Execute("COMMIT"));
  open_ = false;
  return {};
}

Transaction& Database::Scope::transaction() { return *database_.state_; }

}  // namespace vmferry::region
