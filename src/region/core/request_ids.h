// SPDX-License-Identifier: Apache-2.0
//
// Ids and dates that go with every answer.
//
// Thread safety: pure functions, but for the Random they are given.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "sys/random.h"

namespace vmferry::region {

/// S3: 16 upper-case characters; other services: a UUID (version 4).
std::string MakeRequestId(sys::Random& random, std::string_view service);

/// The x-amz-id-2 that goes with an S3 request id.
std::string HostIdFor(std::string_view request_id);

/// "Sun, 22 Nov 2026 03:47:58 GMT" (RFC 9110, section 5.6.7).
std::string HttpDate(WallTime time);
/// Reads what HttpDate writes. Nothing when it is anything else.
std::optional<WallTime> ParseHttpDate(std::string_view text);

}  // namespace vmferry::region
