// SPDX-License-Identifier: Apache-2.0
//
// Tokens of the EBS direct APIs: what a listing hands out and a later call must bring back.
//
// A token names what it is for, its snapshot, a block index and the time it ends, and is sealed
// with a key of the region's: nobody can make one, and none works for another snapshot.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "region/core/database.h"
#include "sys/random.h"

namespace vmferry::region::ebs {

enum class TokenKind : std::uint8_t { kBlock = 1, kPage = 2 };

class Tokens {
 public:
  /// Reads the key from the database, made at first use.
  static Result<Tokens> Open(Database& database, sys::Random& random);

  std::string Make(TokenKind kind, std::string_view snapshot_id, std::uint64_t block_index,
                   std::int64_t expires) const;
  /// The block index of a valid token; nothing when it is forged, foreign or has ended at `now`.
  std::optional<std::uint64_t> Check(TokenKind kind, std::string_view snapshot_id,
                                     std::string_view token, std::int64_t now) const;

 private:
  explicit Tokens(std::vector<std::byte> key) : key_(std::move(key)) {}
  std::vector<std::byte> key_;
};

}  // namespace vmferry::region::ebs
