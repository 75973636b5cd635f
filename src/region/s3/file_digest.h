// SPDX-License-Identifier: Apache-2.0
//
// Checksums of stored bytes, and of objects that are put together from parts.
//
// Thread safety: pure functions.

#pragma once

#include <initializer_list>
#include <vector>

#include "region/core/payload_digest.h"
#include "region/s3/records.h"
#include "sys/file.h"

namespace vmferry::region::s3 {

/// Digests of `length_bytes` of a file from `offset_bytes`. Reads them once.
Result<PayloadDigests> DigestFile(const sys::File& file, std::uint64_t offset_bytes,
                                  std::uint64_t length_bytes,
                                  std::initializer_list<ChecksumKind> kinds);

/// Base64 of the digest of that kind.
std::string DigestText(const PayloadDigests& digests, ChecksumKind kind);

/// hex(md5(concatenated part md5s))-N
std::string MultipartEtag(const std::vector<PartRecord>& parts);

/// base64(hash(concatenated raw part digests))-N
std::string CompositeChecksum(const std::vector<PartRecord>& parts, ChecksumKind kind);

/// The checksum of the whole from those of its parts, for a CRC that is known of each part; nothing
/// else: read the file then.
std::optional<std::string> CombinedChecksum(const std::vector<PartRecord>& parts,
                                            ChecksumKind kind);

}  // namespace vmferry::region::s3
