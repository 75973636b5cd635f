// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace vmferry {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 14> kSizeUnits = {{{"", 1},
                                              {"B", 1},
                                              {"KiB", kKiB},
                                              {"MiB", kMiB},
                                              {"GiB", kGiB},
                                              {"TiB", kTiB},
                                              {"K", kKiB},
                                              {"M", kMiB},
                                              {"G", kGiB},
                                              {"T", kTiB},
                                              {"kB", 1000},
                                              {"MB", 1000 * 1000},
                                              {"GB", 1000 * 1000 * 1000},
                                              {"TB", 1000ULL * 1000 * 1000 * 1000}}};
constexpr std::array<Unit, 4> kDurationUnitsMs = {
    {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}}};

template <std::size_t N>
std::optional<std::uint64_t> ParseWithUnit(std::string_view text,
                                           const std::array<Unit, N>& units) {
  const std::size_t digits = text.find_first_not_of("0123456789");
  const auto number = ParseUint(text.substr(0, digits));
  if (!number) return std::nullopt;
  const std::string_view suffix = digits == text.npos ? "" : text.substr(digits);
  for (const Unit& unit : units) {
    if (unit.name == suffix) return CheckedMul(*number, unit.factor);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> ParseUint(std::string_view text) {
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, failure] = std::from_chars(text.data(), end, value);
  if (text.empty() || failure != std::errc() || stop != end) return std::nullopt;
  return value;
}

Result<std::uint64_t> ParseSize(std::string_view text) {
  const auto size = ParseWithUnit(text, kSizeUnits);
  if (size) return *size;
  return Error(ErrorCode::kInvalidArgument, "units.bad_size",
               fmt::format("'{}' is not a size", text))
      .WithRemedy("write a whole number and a unit, like 8MiB or 200MB");
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const auto duration = ParseWithUnit(text, kDurationUnitsMs);
  if (duration && *duration <= 1000ULL * 3600 * 24 * 365) {
    return std::chrono::milliseconds(*duration);
  }
  return Error(ErrorCode::kInvalidArgument, "units.bad_duration",
               fmt::format("'{}' is not a duration", text))
      .WithRemedy("write a whole number and a unit, like 30s, 10m or 2h");
}

std::string FormatSize(std::uint64_t bytes) {
  constexpr std::array<Unit, 4> kUnits = {
      {{"TiB", kTiB}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}}};
  for (const Unit& unit : kUnits) {
    if (bytes < unit.factor) continue;
    if (bytes % unit.factor == 0) return fmt::format("{} {}", bytes / unit.factor, unit.name);
    return fmt::format("{:.1f} {}", static_cast<double>(bytes) / static_cast<double>(unit.factor),
                       unit.name);
  }
  return fmt::format("{} B", bytes);
}

std::string FormatDuration(std::chrono::seconds duration) {
  const auto seconds = duration.count();
  if (seconds >= 3600) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  if (seconds >= 60) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  return fmt::format("{}s", seconds);
}

std::string FormatTime(std::chrono::system_clock::time_point time) {
  using std::chrono::days;
  using std::chrono::seconds;
  const auto whole = std::chrono::floor<seconds>(time);
  const auto day = std::chrono::floor<days>(whole);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(whole - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

Result<std::chrono::system_clock::time_point> ParseTime(std::string_view text) {
  const Error bad(ErrorCode::kInvalidArgument, "units.bad_time",
                  fmt::format("'{}' is not a UTC time like 2026-11-22T10:00:00Z", text));
  // yyyy-mm-ddThh:mm:ss[.fff]Z
  if (text.size() < 20 || text.back() != 'Z' || text[4] != '-' || text[7] != '-' ||
      text[10] != 'T' || text[13] != ':' || text[16] != ':' ||
      (text.size() > 20 && text[19] != '.')) {
    return bad;
  }
  const auto year = ParseUint(text.substr(0, 4));
  const auto month = ParseUint(text.substr(5, 2));
  const auto day = ParseUint(text.substr(8, 2));
  const auto hour = ParseUint(text.substr(11, 2));
  const auto minute = ParseUint(text.substr(14, 2));
  const auto second = ParseUint(text.substr(17, 2));
  if (!year || !month || !day || !hour || !minute || !second) return bad;
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  // The clock counts nanoseconds in 64 bits: it ends in 2262.
  if (*year < 1970 || *year > 2261 || !date.ok() || *hour > 23 || *minute > 59 || *second > 60)
    return bad;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

}  // namespace vmferry
