// SPDX-License-Identifier: Apache-2.0
//
// Digests and checksums: SHA-256, SHA-512, SHA-1, MD5, HMAC-SHA-256, CRC32C, CRC32.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace vmferry::codec {

using Sha256Digest = std::array<std::byte, 32>;
using Md5Digest = std::array<std::byte, 16>;

Sha256Digest Sha256(std::span<const std::byte> data);
Md5Digest Md5(std::span<const std::byte> data);
Sha256Digest HmacSha256(std::span<const std::byte> key, std::span<const std::byte> data);

enum class DigestKind { kSha256, kSha1, kMd5, kSha512 };

/// The longest digest of them all.
inline constexpr std::size_t kMaxDigestBytes = 64;

/// A digest over data that comes in parts. Not copyable; Finish may be called once.
class Digester {
 public:
  explicit Digester(DigestKind kind);
  ~Digester();
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;

  void Update(std::span<const std::byte> data);
  /// Writes the digest to the front of `out` and returns that part (64, 32, 20 or 16 bytes).
  /// Pre: `out` has room for it; kMaxDigestBytes are enough for any.
  std::span<const std::byte> Finish(std::span<std::byte> out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// CRC32C (Castagnoli) of `data`, continuing from `previous` (0 at the start): the checksum S3
/// calls CRC32C.
std::uint32_t Crc32c(std::span<const std::byte> data, std::uint32_t previous = 0);

/// CRC32 as zlib, Ethernet and UEFI compute it, continuing from `previous` (0 at the start).
std::uint32_t Crc32(std::span<const std::byte> data, std::uint32_t previous = 0);

/// The four bytes of a CRC in the order S3 encodes them: big-endian.
std::array<std::byte, 4> CrcBytes(std::uint32_t crc);

}  // namespace vmferry::codec
