// SPDX-License-Identifier: Apache-2.0
//
// Random: the only source of chance.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace vmferry::sys {

class Random {
 public:
  virtual ~Random() = default;
  virtual void Fill(std::span<std::byte> out) = 0;

  std::uint64_t Next() {
    std::uint64_t value = 0;
    Fill(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  /// Uniform enough for back-off and tests: in [0, bound), bound > 0.
  std::uint64_t Below(std::uint64_t bound) { return Next() % bound; }
  /// `length` characters of a-z2-7, 5 bits of chance each.
  std::string Base32(std::size_t length);
  /// `length` lower-case hexadecimal digits.
  std::string Hex(std::size_t length);
};

/// The kernel's random source: fit for keys.
class SystemRandom final : public Random {
 public:
  void Fill(std::span<std::byte> out) override;
};

}  // namespace vmferry::sys
