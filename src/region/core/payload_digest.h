// SPDX-License-Identifier: Apache-2.0
//
// PayloadDigester: the checksums S3 knows, several at once, over data that comes in parts.
//
// Thread safety: one thread at a time.
// Source: Amazon S3 User Guide, "Checking object integrity"; CRC64NVME: NVM Command Set
// Specification 1.0, section 5.2.1.3.4.

#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "codec/digest.h"
#include "region/core/service.h"

namespace vmferry::region {

enum class ChecksumKind { kMd5, kSha256, kSha1, kCrc32, kCrc32c, kCrc64nvme };

/// "crc32c" and so on: the end of x-amz-checksum-crc32c; nothing for MD5, which is no such
/// checksum.
std::optional<ChecksumKind> ChecksumKindByName(std::string_view name);
std::string_view ChecksumName(ChecksumKind kind);
/// Length of the raw digest.
std::size_t ChecksumBytes(ChecksumKind kind);
const std::string& DigestOf(const PayloadDigests& digests, ChecksumKind kind);

/// CRC-64/NVME of `data`, continuing from `previous` (0 at the start).
std::uint64_t Crc64Nvme(std::span<const std::byte> data, std::uint64_t previous = 0);

/// The CRC of two runs of bytes, one behind the other, from the CRCs of both and the length of the
/// second. Raw digests, as in PayloadDigests; "" when the kind is no CRC.
std::string CombineCrc(ChecksumKind kind, std::string_view first, std::string_view second,
                       std::uint64_t second_bytes);

class PayloadDigester {
 public:
  void Want(ChecksumKind kind);
  void Update(std::span<const std::byte> data);
  /// The wanted digests. Call once.
  PayloadDigests Finish();

 private:
  std::optional<codec::Digester> md5_;
  std::optional<codec::Digester> sha256_;
  std::optional<codec::Digester> sha1_;
  std::optional<std::uint32_t> crc32_;
  std::optional<std::uint32_t> crc32c_;
  std::optional<std::uint64_t> crc64_;
};

}  // namespace vmferry::region
