// SPDX-License-Identifier: Apache-2.0
//
// Log: events with fields, not sentences. The backend behind it is chosen in apps/.
//
// Thread safety: Write may be called from any thread.

#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace vmferry {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

struct LogField {
  LogField(std::string_view field_key, std::string_view field_value)
      : key(field_key), value(field_value) {}
  LogField(std::string_view field_key, std::uint64_t number)
      : key(field_key), value(std::to_string(number)) {}
  std::string_view key;
  std::string value;
};

class Log {
 public:
  virtual ~Log() = default;

  virtual void Write(LogLevel level, std::string_view event,
                     std::initializer_list<LogField> fields) = 0;

  void Debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kDebug, event, fields);
  }
  void Info(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kInfo, event, fields);
  }
  void Warn(std::string_view event, std::initializer_list<LogField> fields = {}) {
    Write(LogLevel::kWarn, event, fields);
  }
};

/// Drops everything.
class NullLog final : public Log {
 public:
  void Write(LogLevel, std::string_view, std::initializer_list<LogField>) override {}
};

}  // namespace vmferry
