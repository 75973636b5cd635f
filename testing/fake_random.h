// SPDX-License-Identifier: Apache-2.0
//
// FakeRandom: the same numbers for the same seed (splitmix64).

#pragma once

#include "sys/random.h"

namespace vmferry::testing {

class FakeRandom final : public sys::Random {
 public:
  explicit FakeRandom(std::uint64_t seed) : state_(seed) {}

  void Fill(std::span<std::byte> out) override {
    for (std::byte& byte : out) {
      state_ += 0x9e3779b97f4a7c15;
      std::uint64_t mixed = state_;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
      byte = static_cast<std::byte>((mixed ^ (mixed >> 31)) & 0xff);
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace vmferry::testing
