// SPDX-License-Identifier: Apache-2.0
//
// Database: the region's one SQLite file (WAL, synchronous=FULL), shared by all services.
//
// Each component owns its tables and migrates them by itself. What a finished WithTransaction
// wrote survives kill -9 and power loss.
//
// Thread safety: all methods, from any thread; transactions run one at a time. The body of a
// transaction must not start another one, wait, or call out of the process.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace vmferry::region {

/// What can be bound to a statement's `?`: NULL, a number, text.
class SqlValue {
 public:
  SqlValue(std::nullptr_t) {}
  template <typename T>
  requires std::is_integral_v<T> SqlValue(T number) : value_(static_cast<std::int64_t>(number)) {}
  SqlValue(std::string text) : value_(std::move(text)) {}
  SqlValue(std::string_view text) : value_(std::string(text)) {}
  SqlValue(const char* text) : value_(std::string(text)) {}

  const std::variant<std::monostate, std::int64_t, std::string>& value() const { return value_; }

 private:
  std::variant<std::monostate, std::int64_t, std::string> value_;
};

/// One row of a result; columns count from 0.
class SqlRow {
 public:
  explicit SqlRow(std::vector<SqlValue> values) : values_(std::move(values)) {}

  bool IsNull(std::size_t column) const;
  std::int64_t Int(std::size_t column) const;         ///< 0 for NULL
  std::uint64_t Uint(std::size_t column) const;       ///< 0 for NULL
  const std::string& Text(std::size_t column) const;  ///< "" for NULL

 private:
  std::vector<SqlValue> values_;
};

/// Statements inside one transaction. Text is UTF-8 or any bytes without interpretation.
class Transaction {
 public:
  virtual ~Transaction() = default;
  /// Runs one statement and returns the number of rows it changed.
  /// Errors: kAlreadyExists region.database_conflict (a UNIQUE or PRIMARY KEY is violated);
  ///         kResourceExhausted sqlite.no_space; kDataLoss sqlite.damaged; kInternal sqlite.failed.
  virtual Result<std::int64_t> Execute(std::string_view sql, std::vector<SqlValue> values = {}) = 0;
  /// All rows of one SELECT: give it a LIMIT where the table can be large.
  virtual Result<std::vector<SqlRow>> Query(std::string_view sql,
                                            std::vector<SqlValue> values = {}) = 0;
};

class Database {
 public:
  /// Opens or makes the file. Errors: those of sqlite::Connection::Open.
  static Result<std::unique_ptr<Database>> Open(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Brings the component's tables up to date: runs those of `statements` (numbered from 1 by
  /// their place) that were not run before, each once. Statements are never changed or removed
  /// after a release, only added.
  /// Errors: kFailedPrecondition sqlite.newer_schema (made by a newer version).
  Result<void> Migrate(std::string_view component, std::span<const char* const> statements);

  /// Runs body(Transaction&), which returns a Result; commits when it succeeded, else rolls back.
  /// Returns the body's result, or the error of the commit.
  template <typename Body>
  std::invoke_result_t<Body, Transaction&> WithTransaction(Body&& body) {
    Scope scope(*this);
    VMFERRY_RETURN_IF_ERROR(scope.Begin());
    auto result = std::forward<Body>(body)(scope.transaction());
    if (!result.has_value()) return result;  // the scope rolls back
    VMFERRY_RETURN_IF_ERROR(scope.Commit());
    return result;
  }

 private:
  struct State;
  class Scope {
   public:
    explicit Scope(Database& database);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    Result<void> Begin();
    Result<void> Commit();
    Transaction& transaction();

   private:
    Database& database_;
    bool open_ = false;
  };

  explicit Database(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vmferry::region
