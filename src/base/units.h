// SPDX-License-Identifier: Apache-2.0
//
// Sizes and durations as people write them, and arithmetic on sizes that cannot wrap around.

#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vmferry {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;
inline constexpr std::uint64_t kTiB = 1024 * kGiB;
inline constexpr std::uint64_t kSectorBytes = 512;

/// Smallest n with n * unit >= value. `unit` is not zero.
constexpr std::uint64_t DivCeil(std::uint64_t value, std::uint64_t unit) {
  return value / unit + (value % unit != 0 ? 1 : 0);
}

/// a + b, or nothing when the sum does not fit.
constexpr std::optional<std::uint64_t> CheckedAdd(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a * b, or nothing when the product does not fit.
constexpr std::optional<std::uint64_t> CheckedMul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Bytes of `sectors` 512-byte sectors, or nothing on overflow.
constexpr std::optional<std::uint64_t> SectorsToBytes(std::uint64_t sectors) {
  return CheckedMul(sectors, kSectorBytes);
}

/// Whole decimal number without sign or blanks, or nothing.
std::optional<std::uint64_t> ParseUint(std::string_view text);

/// "8MiB", "512KiB", "200MB", "1048576". Errors: kInvalidArgument units.bad_size.
Result<std::uint64_t> ParseSize(std::string_view text);

/// "30s", "10m", "2h", "250ms". Errors: kInvalidArgument units.bad_duration.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

/// "2.0 GiB", "512 B": at most one decimal, binary units.
std::string FormatSize(std::uint64_t bytes);

/// "1h02m", "3m20s", "12s".
std::string FormatDuration(std::chrono::seconds duration);

/// UTC, RFC 3339, whole seconds: "2026-11-22T10:00:00Z".
std::string FormatTime(std::chrono::system_clock::time_point time);

/// Reads what FormatTime writes (a fraction of seconds is accepted and dropped).
/// Errors: kInvalidArgument units.bad_time.
Result<std::chrono::system_clock::time_point> ParseTime(std::string_view text);

}  // namespace vmferry
