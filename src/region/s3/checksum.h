// SPDX-License-Identifier: Apache-2.0
//
// Checksums that come with a payload: found, checked against what arrived, and shown.
//
// Thread safety: pure functions.
// Source: Amazon S3 User Guide, "Checking object integrity"; aws-chunked trailers likewise.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "region/core/payload_digest.h"
#include "region/core/service.h"
#include "region/s3/fault.h"
#include "region/s3/records.h"

namespace vmferry::region::s3 {

/// Checks Content-MD5 and x-amz-checksum-* (header or trailer) against the payload's digests, and
/// writes to `checksum` what is to be kept: the one sent, or the one asked for by
/// x-amz-sdk-checksum-algorithm. Composite checksums of CompleteMultipartUpload are not its matter.
MaybeFault CheckPayload(const Call& call, Checksum& checksum);

/// x-amz-checksum-... and x-amz-checksum-type.
void AddChecksumHeaders(const Checksum& checksum, std::vector<NameValue>& headers);

/// "x-amz-checksum-crc32c" and "ChecksumCRC32C" for "CRC32C".
std::string ChecksumHeader(std::string_view algorithm);
std::string ChecksumElement(std::string_view algorithm);
/// The kind for an upper-case algorithm name.
std::optional<ChecksumKind> KindOfAlgorithm(std::string_view algorithm);

std::string UpperCase(std::string_view text);
std::string LowerCase(std::string_view text);

}  // namespace vmferry::region::s3
