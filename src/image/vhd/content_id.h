// SPDX-License-Identifier: Apache-2.0
//
// ContentId: an id made from what a disk holds, so that the same disk always gets the same one.
//
// A chain of SHA-256 over the CRC32C of each unit that is not all zeros, in order: hashing every
// byte with SHA-256 would cost more than all the rest of encoding. It tells disks apart; it proves
// nothing about them.
//
// Workers make the checksums and hand them on behind the bytes of a part.

#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "codec/digest.h"
#include "image/encoder.h"
#include "image/vhd/footer.h"

namespace vmferry::image::vhd {

/// Room that the checksums of `units` take behind a part's bytes.
constexpr std::uint64_t ChecksumRoom(std::uint64_t units) { return units * sizeof(std::uint32_t); }

/// Appends the checksum of each unit to `part.bytes`, which has the room for it.
void AppendChecksums(EncodedPart& part);

class ContentId {
 public:
  ContentId(std::string_view encoder_id, std::uint64_t size_bytes);

  /// Takes the checksums off a part that AppendChecksums has put them on.
  void Add(EncodedPart& part);

  UniqueId Id() const;

  /// For cursors. Pre: what is restored has StateBytes.
  std::span<const std::byte> state() const { return state_; }
  /// Errors: kDataLoss encoder.bad_state.
  Result<void> Restore(std::span<const std::byte> state);

 private:
  void Mix(std::span<const std::byte> bytes);

  codec::Sha256Digest state_ = {};
};

}  // namespace vmferry::image::vhd
