// SPDX-License-Identifier: Apache-2.0
#include "text/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace vmferry::text {
namespace {

constexpr std::size_t kMaxDepth = 64;

// Builds a Json from nlohmann's parser events, with a bound on depth.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(Json()); }
  bool boolean(bool value) override { return Add(Json(value)); }
  bool number_integer(number_integer_t value) override { return Add(Json(std::int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<std::uint64_t>(INT64_MAX)) return Add(Json(static_cast<double>(value)));
    return Add(Json(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return Add(Json(value)); }
  bool string(string_t& value) override { return Add(Json(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return Open(true); }
  bool key(string_t& name) override {
    open_.back().name = std::move(name);
    return true;
  }
  bool end_object() override {
    Level done = Close();
    // Two values under one name: readers would disagree about which counts. Sorted once here,
    // because a search at every member takes minutes for an object of a megabyte.
    std::vector<std::string_view> names;
    for (const Json::Member& member : done.members) names.push_back(member.first);
    std::sort(names.begin(), names.end());
    repeated_name = std::adjacent_find(names.begin(), names.end()) != names.end();
    return !repeated_name && Add(Json(std::move(done.members)));
  }
  bool start_array(std::size_t) override { return Open(false); }
  bool end_array() override { return Add(Json(Close().items)); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    error_position_ = position;
    return false;
  }

  Json root;
  bool too_deep = false;
  bool repeated_name = false;
  std::size_t error_position() const { return error_position_; }

 private:
  /// An object or array that is not yet closed.
  struct Level {
    bool is_object = false;
    Json::Object members;
    Json::Array items;
    std::string name;  // of the member that comes next
  };

  bool Open(bool is_object) {
    if (open_.size() >= kMaxDepth) {
      too_deep = true;
      return false;
    }
    open_.push_back({.is_object = is_object});
    return true;
  }
  Level Close() {
    Level done = std::move(open_.back());
    open_.pop_back();
    return done;
  }
  bool Add(Json value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.emplace_back(std::move(open_.back().name), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Level> open_;
  std::size_t error_position_ = 0;
};

}  // namespace

Result<Json> Json::Parse(std::string_view text, std::size_t limit_bytes) {
  if (text.size() > limit_bytes) {
    return Error(ErrorCode::kInvalidArgument, "json.too_large",
                 fmt::format("JSON of {} bytes exceeds the limit of {}", text.size(), limit_bytes));
  }
  Builder builder;
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) return builder.root;
  if (builder.too_deep) {
    return Error(ErrorCode::kInvalidArgument, "json.too_deep",
                 fmt::format("JSON is nested more than {} levels deep", kMaxDepth));
  }
  if (builder.repeated_name) {
    return Error(ErrorCode::kInvalidArgument, "json.malformed",
                 "JSON has an object with two members of one name");
  }
  return Error(ErrorCode::kInvalidArgument, "json.malformed",
               fmt::format("JSON is malformed at byte {}", builder.error_position()));
}

std::string Json::AsString(std::string_view fallback) const {
  const auto* text = std::get_if<std::string>(&value_);
  return text != nullptr ? *text : std::string(fallback);
}

std::int64_t Json::AsInt(std::int64_t fallback) const {
  const auto* number = std::get_if<std::int64_t>(&value_);
  return number != nullptr ? *number : fallback;
}

double Json::AsDouble(double fallback) const {
  if (const auto* number = std::get_if<double>(&value_)) return *number;
  if (const auto* whole = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*whole);
  return fallback;
}

bool Json::AsBool(bool fallback) const {
  const auto* value = std::get_if<bool>(&value_);
  return value != nullptr ? *value : fallback;
}

const Json::Array& Json::Items() const {
  static const Array kNone;
  const auto* items = std::get_if<Array>(&value_);
  return items != nullptr ? *items : kNone;
}

const Json::Object& Json::Members() const {
  static const Object kNone;
  const auto* members = std::get_if<Object>(&value_);
  return members != nullptr ? *members : kNone;
}

const Json& Json::operator[](std::string_view name) const {
  static const Json kNull;
  for (const Member& member : Members()) {
    if (member.first == name) return member.second;
  }
  return kNull;
}

Json& Json::Set(std::string_view name, Json value) {
  if (IsNull()) value_ = Object{};
  auto& members = std::get<Object>(value_);
  for (Member& member : members) {
    if (member.first == name) {
      member.second = std::move(value);
      return *this;
    }
  }
  members.emplace_back(std::string(name), std::move(value));
  return *this;
}

Json& Json::Append(Json item) {
  if (IsNull()) value_ = Array{};
  std::get<Array>(value_).push_back(std::move(item));
  return *this;
}

std::string Json::Dump(bool pretty) const {
  std::string out;
  DumpTo(out, pretty, 0);
  return out;
}

void Json::DumpTo(std::string& out, bool pretty, int depth) const {
  const auto line = [&](int level) {
    if (!pretty) return;
    out += '\n';
    out.append(static_cast<std::size_t>(level) * 2, ' ');
  };
  if (const auto* truth = std::get_if<bool>(&value_)) {
    out += *truth ? "true" : "false";
  } else if (const auto* whole = std::get_if<std::int64_t>(&value_)) {
    out += std::to_string(*whole);
  } else if (const auto* number = std::get_if<double>(&value_)) {
    out += std::isfinite(*number) ? fmt::format("{}", *number) : "null";
  } else if (IsString()) {
    out += JsonQuote(std::get<std::string>(value_));
  } else if (IsArray()) {
    out += '[';
    for (std::size_t i = 0; i < Items().size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      Items()[i].DumpTo(out, pretty, depth + 1);
    }
    if (!Items().empty()) line(depth);
    out += ']';
  } else if (IsObject()) {
    out += '{';
    for (std::size_t i = 0; i < Members().size(); ++i) {
      if (i > 0) out += ',';
      line(depth + 1);
      out += JsonQuote(Members()[i].first);
      out += pretty ? ": " : ":";
      Members()[i].second.DumpTo(out, pretty, depth + 1);
    }
    if (!Members().empty()) line(depth);
    out += '}';
  } else {
    out += "null";
  }
}

std::string JsonQuote(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace vmferry::text
