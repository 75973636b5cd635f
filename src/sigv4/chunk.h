// SPDX-License-Identifier: Apache-2.0
//
// Signatures of aws-chunked bodies: each chunk is signed with the one before it.
//
// Thread safety: no state.
// Source: Amazon S3 API reference, "Signature calculations for the Authorization header:
// Transferring payload in multiple chunks", and the same with trailing headers.

#pragma once

#include "sigv4/canonical.h"

namespace vmferry::sigv4 {

/// The signature of one chunk; the first follows the signature of the headers (the seed), the last
/// chunk is empty.
std::string ChunkSignature(const codec::Sha256Digest& signing_key, std::string_view amz_date,
                           const Scope& scope, std::string_view previous_signature,
                           std::span<const std::byte> chunk);

/// The signature of the trailer, following the last chunk's. `trailer` is the lines "name:value",
/// each ended by one line feed.
std::string TrailerSignature(const codec::Sha256Digest& signing_key, std::string_view amz_date,
                             const Scope& scope, std::string_view previous_signature,
                             std::string_view trailer);

}  // namespace vmferry::sigv4
