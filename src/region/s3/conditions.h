// SPDX-License-Identifier: Apache-2.0
//
// Conditional requests and ranges.
//
// Thread safety: pure functions.
// Source: RFC 9110, sections 13 and 14, with S3's departures (Amazon S3 API reference, GetObject).

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "region/s3/fault.h"
#include "region/s3/records.h"

namespace vmferry::region::s3 {

/// A run of an object's bytes. Half-open.
struct ByteRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

/// Reads a Range header. Shape: the whole object when the header is absent, malformed or asks for
/// several ranges, which S3 ignores; `partial` says which. Nothing when it lies outside (416).
std::optional<ByteRange> ReadRange(const std::string* header, std::uint64_t size_bytes,
                                   bool& partial);

enum class ReadCondition { kSend, kNotModified, kFailed };
/// If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since of a GET or HEAD, or with
/// `prefix` "x-amz-copy-source-" those of a copy. `failed` names the one that did not hold.
ReadCondition CheckRead(const Call& call, const ObjectRecord& object, std::string& failed,
                        std::string_view prefix = {});

/// If-None-Match: * and If-Match of a write or removal; `present` is what is there now.
MaybeFault CheckWrite(const Call& call, std::string_view key,
                      const std::optional<ObjectRecord>& present);

/// The same for the <ETag> of an entry of DeleteObjects.
MaybeFault CheckEtag(std::string_view wanted, std::string_view key,
                     const std::optional<ObjectRecord>& present);

}  // namespace vmferry::region::s3
