// SPDX-License-Identifier: Apache-2.0
#include "log_backend.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace vmferry::app {
namespace {

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

class SpdlogLog final : public Log {
 public:
  explicit SpdlogLog(bool debug)
      : logger_("vmferry", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger_.set_level(debug ? spdlog::level::debug : spdlog::level::warn);
    logger_.set_pattern("%Y-%m-%dT%H:%M:%SZ %l %v", spdlog::pattern_time_type::utc);
  }

  void Write(LogLevel level, std::string_view event,
             std::initializer_list<LogField> fields) override {
    const auto wanted = LevelOf(level);
    if (!logger_.should_log(wanted)) return;
    std::string line(event);
    for (const LogField& field : fields) {
      line += ' ';
      line += field.key;
      line += '=';
      line += field.value;
    }
    logger_.log(wanted, line);
  }

 private:
  spdlog::logger logger_;
};

}  // namespace

std::unique_ptr<Log> MakeLog(bool debug) { return std::make_unique<SpdlogLog>(debug); }

}  // namespace vmferry::app
