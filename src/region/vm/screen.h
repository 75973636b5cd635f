// SPDX-License-Identifier: Apache-2.0
//
// Pictures of a guest's screen: QEMU's screendump as JPEG, which is what EC2 returns.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace vmferry::region::vm {

/// The largest picture taken: 4096 x 4096.
inline constexpr std::uint64_t kScreenBytesMax = 4096ULL * 4096 * 3 + 64;

/// A binary PPM (P6, 255 levels) as JPEG. The file comes from a process that a guest may have
/// broken: every field is checked.
/// Errors: kDataLoss region.bad_screen.
Result<std::string> JpegOfPpm(std::string_view ppm);

}  // namespace vmferry::region::vm
