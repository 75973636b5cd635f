// SPDX-License-Identifier: Apache-2.0
//
// A thin RAII layer over SQLite: connections, statements, transactions.
//
// Thread safety: one Connection may be used by one thread at a time; callers hold their own lock.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace vmferry::sqlite {

class Connection;

/// A prepared statement. Bind by position from 1, Step until false, read columns from 0.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& Bind(int position, std::int64_t value);
  Statement& Bind(int position, std::uint64_t value) {
    return Bind(position, static_cast<std::int64_t>(value));
  }
  Statement& Bind(int position, int value) { return Bind(position, std::int64_t{value}); }
  Statement& Bind(int position, std::string_view text);
  Statement& Bind(int position, const char* text) { return Bind(position, std::string_view(text)); }
  Statement& Bind(int position, std::span<const std::byte> blob);
  Statement& BindNull(int position);

  /// True while there is a row.
  Result<bool> Step();
  /// Steps to the end; for statements without rows.
  Result<void> Run();
  /// Makes the statement ready for another run; bindings are cleared.
  void Reset();

  bool IsNull(int column) const;
  std::int64_t Int(int column) const;
  std::uint64_t Uint(int column) const { return static_cast<std::uint64_t>(Int(column)); }
  std::string Text(int column) const;
  std::vector<std::byte> Blob(int column) const;

 private:
  friend class Connection;
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}

  sqlite3* database_;
  sqlite3_stmt* statement_;
};

struct Migration {
  int version;  ///< 1, 2, 3... in order, never changed once released
  const char* sql;
};

class Connection {
 public:
  /// Opens or creates the database: WAL, synchronous=FULL, foreign keys on, waits up to 10 s for
  /// locks. The file gets mode 0600.
  ///
  /// Errors: kUnavailable sqlite.busy; kDataLoss sqlite.damaged; kResourceExhausted
  /// sqlite.no_space; kInternal sqlite.failed.
  static Result<Connection> Open(const std::filesystem::path& path);

  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&&) = delete;
  ~Connection();

  Result<Statement> Prepare(std::string_view sql);
  /// Runs one or more statements without results.
  Result<void> Execute(const char* sql);
  /// Runs `body` between BEGIN IMMEDIATE and COMMIT; rolls back when it fails.
  Result<void> Transaction(const std::function<Result<void>()>& body);
  /// Brings `component`'s tables up to the last migration, each in a transaction of its own. A
  /// database written by a newer program is kFailedPrecondition sqlite.newer_schema.
  Result<void> Migrate(std::string_view component, std::span<const Migration> migrations);
  /// Rows changed by the last statement.
  std::int64_t Changes() const;
  std::int64_t LastInsertId() const;

 private:
  explicit Connection(sqlite3* database) : database_(database) {}
  sqlite3* database_;
};

}  // namespace vmferry::sqlite
