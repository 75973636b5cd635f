// SPDX-License-Identifier: Apache-2.0
//
// Json: a JSON value. Objects keep the order in which their members were set.
//
// Parsing is strict (RFC 8259) and bounded in size and depth; nlohmann-json does it.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace vmferry::text {

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;  ///< null
  Json(bool value) : value_(value) {}
  Json(int value) : value_(std::int64_t{value}) {}
  Json(std::int64_t value) : value_(value) {}
  Json(std::uint64_t value) : value_(static_cast<std::int64_t>(value)) {}
  Json(double value) : value_(value) {}
  Json(const char* text) : value_(std::string(text)) {}
  Json(std::string_view text) : value_(std::string(text)) {}
  Json(std::string text) : value_(std::move(text)) {}
  Json(Array items) : value_(std::move(items)) {}
  Json(Object members) : value_(std::move(members)) {}
  static Json MakeObject() { return Json(Object{}); }
  static Json MakeArray() { return Json(Array{}); }

  /// Errors: kInvalidArgument json.malformed, json.too_deep, json.too_large.
  static Result<Json> Parse(std::string_view text, std::size_t limit_bytes = 16U << 20);

  bool IsNull() const { return std::holds_alternative<std::monostate>(value_); }
  bool IsObject() const { return std::holds_alternative<Object>(value_); }
  bool IsArray() const { return std::holds_alternative<Array>(value_); }
  bool IsString() const { return std::holds_alternative<std::string>(value_); }

  /// The value, or the fallback when it is of another kind.
  std::string AsString(std::string_view fallback = "") const;
  std::int64_t AsInt(std::int64_t fallback = 0) const;
  std::uint64_t AsUint(std::uint64_t fallback = 0) const {
    return static_cast<std::uint64_t>(AsInt(static_cast<std::int64_t>(fallback)));
  }
  double AsDouble(double fallback = 0) const;
  bool AsBool(bool fallback = false) const;
  /// Items of an array; empty for other kinds.
  const Array& Items() const;
  /// Members of an object; empty for other kinds.
  const Object& Members() const;

  /// The member of that name, or a null value.
  const Json& operator[](std::string_view name) const;
  /// Adds or replaces a member (null becomes an object).
  Json& Set(std::string_view name, Json value);
  /// Adds an item (null becomes an array).
  Json& Append(Json item);

  /// On one line, or with two blanks of indentation a level.
  std::string Dump(bool pretty = false) const;

  bool operator==(const Json&) const = default;

 private:
  void DumpTo(std::string& out, bool pretty, int depth) const;

  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> value_;
};

/// A string literal of JSON, with quotes; bytes that are not UTF-8 become U+FFFD.
std::string JsonQuote(std::string_view text);

}  // namespace vmferry::text
