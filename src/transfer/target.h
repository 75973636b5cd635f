// SPDX-License-Identifier: Apache-2.0
//
// Target: takes numbered pieces of a stored file in any order, and may tell what it holds.
//
// Thread safety: Put may be called from several threads at once.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "transfer/piece_plan.h"

namespace vmferry::transfer {

/// A piece that the target already holds, as far as it tells.
struct HeldPiece {
  std::uint64_t number = 0;
  std::uint64_t length_bytes = 0;
};

class Target {
 public:
  virtual ~Target() = default;

  /// Hands over one piece; on success the target has checked its CRC32C. Returns the target's tag
  /// (S3: ETag). Repeating a piece replaces it.
  virtual Result<std::string> Put(const Piece& piece, std::span<const std::byte> data,
                                  std::uint32_t crc32c, const OpContext& context) = 0;

  /// The pieces there, by number.
  virtual Result<std::vector<HeldPiece>> Held(const OpContext& context) = 0;

  /// True when the target's own checksum of the piece is `crc32c`.
  virtual Result<bool> Holds(const Piece& piece, std::uint32_t crc32c,
                             const OpContext& context) = 0;
};

}  // namespace vmferry::transfer
