// SPDX-License-Identifier: Apache-2.0
#include "sqlite/database.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <utility>

namespace vmferry::sqlite {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

Error SqliteError(sqlite3* database, std::string_view action) {
  const int code = database == nullptr ? SQLITE_NOMEM : sqlite3_errcode(database);
  const std::string message =
      fmt::format("cannot {} the database: {}", action,
                  database == nullptr ? "out of memory" : sqlite3_errmsg(database));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error(ErrorCode::kUnavailable, "sqlite.busy", message)
          .WithRetry(Retry::kTransient)
          .WithRemedy("another process holds it: wait for it or end it");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error(ErrorCode::kDataLoss, "sqlite.damaged", message)
          .WithRemedy("restore the file from a copy, or move it away to begin anew");
    case SQLITE_FULL:
    case SQLITE_IOERR:
      return Error(ErrorCode::kResourceExhausted, "sqlite.no_space", message)
          .WithRemedy("free some space on that file system and try again");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return Error(ErrorCode::kPermissionDenied, "sqlite.not_writable", message)
          .WithRemedy("check that its folder exists and may be written by you");
    default:
      return Error(ErrorCode::kInternal, "sqlite.failed", message);
  }
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::Bind(int position, std::int64_t value) {
  VMFERRY_CHECK(sqlite3_bind_int64(statement_, position, value) == SQLITE_OK);
  return *this;
}

Statement& Statement::Bind(int position, std::string_view text) {
  // An empty view may have a null pointer, which SQLite would bind as NULL.
  const char* data = text.data() == nullptr ? "" : text.data();
  VMFERRY_CHECK(sqlite3_bind_text(statement_, position, data, static_cast<int>(text.size()),
                                  SQLITE_TRANSIENT) == SQLITE_OK);
  return *this;
}

Statement& Statement::Bind(int position, std::span<const std::byte> blob) {
  const void* data = blob.data() == nullptr ? "" : static_cast<const void*>(blob.data());
  VMFERRY_CHECK(sqlite3_bind_blob64(statement_, position, data, blob.size(), SQLITE_TRANSIENT) ==
                SQLITE_OK);
  return *this;
}

Statement& Statement::BindNull(int position) {
  VMFERRY_CHECK(sqlite3_bind_null(statement_, position) == SQLITE_OK);
  return *this;
}

Result<bool> Statement::Step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return SqliteError(database_, "use");
  }
}

Result<void> Statement::Run() {
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const bool more, Step());
    if (!more) return {};
  }
}

void Statement::Reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::int64_t Statement::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Statement::Text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::vector<std::byte> Statement::Blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, data + sqlite3_column_bytes(statement_, column)};
}

Result<Connection> Connection::Open(const std::filesystem::path& path) {
  sqlite3* database = nullptr;
  const int outcome =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Connection connection(database);
  if (outcome != SQLITE_OK) {
    return SqliteError(database, "open").With("path", path.string());
  }
  ::chmod(path.c_str(), 0600);
  sqlite3_busy_timeout(database, kBusyTimeoutMs);
  sqlite3_extended_result_codes(database, 1);
  auto ready = connection.Execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
      "CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version INTEGER NOT "
      "NULL);");
  if (!ready) return std::move(ready).error().With("path", path.string());
  return connection;
}

Connection::Connection(Connection&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Connection::~Connection() { sqlite3_close_v2(database_); }

Result<Statement> Connection::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(database_, sql.data(), static_cast<int>(sql.size()), &statement,
                         nullptr) != SQLITE_OK) {
    return SqliteError(database_, "use");
  }
  return Statement(database_, statement);
}

Result<void> Connection::Execute(const char* sql) {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database_, "use");
  }
  return {};
}

Result<void> Connection::Transaction(const std::function<Result<void>()>& body) {
  VMFERRY_RETURN_IF_ERROR(Execute("BEGIN IMMEDIATE"));
  Result<void> outcome = body();
  if (outcome) outcome = Execute("COMMIT");
  if (!outcome) sqlite3_exec(database_, "ROLLBACK", nullptr, nullptr, nullptr);
  return outcome;
}

Result<void> Connection::Migrate(std::string_view component,
                                 std::span<const Migration> migrations) {
  int current = 0;
  {
    VMFERRY_ASSIGN_OR_RETURN(Statement query,
                             Prepare("SELECT version FROM schema_version WHERE component = ?"));
    query.Bind(1, component);
    VMFERRY_ASSIGN_OR_RETURN(const bool found, query.Step());
    if (found) current = static_cast<int>(query.Int(0));
  }
  const int newest = migrations.empty() ? 0 : migrations.back().version;
  if (current > newest) {
    return Error(ErrorCode::kFailedPrecondition, "sqlite.newer_schema",
                 fmt::format("the database's {} tables have version {}, this program knows {}",
                             component, current, newest))
        .WithRemedy("use the newer vmferry that wrote it");
  }
  for (const Migration& migration : migrations) {
    if (migration.version <= current) continue;
    VMFERRY_RETURN_IF_ERROR(Transaction([&]() -> Result<void> {
      VMFERRY_RETURN_IF_ERROR(Execute(migration.sql));
      VMFERRY_ASSIGN_OR_RETURN(
          Statement update,
          Prepare("INSERT INTO schema_version VALUES (?, ?) ON CONFLICT (component) DO UPDATE SET "
                  "version = excluded.version"));
      return update.Bind(1, component).Bind(2, migration.version).Run();
    }));
  }
  return {};
}

std::int64_t Connection::Changes() const { return sqlite3_changes64(database_); }
std::int64_t Connection::LastInsertId() const { return sqlite3_last_insert_rowid(database_); }

}  // namespace vmferry::sqlite
