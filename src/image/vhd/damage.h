// SPDX-License-Identifier: Apache-2.0
//
// The errors every VHD parser returns for a structure that cannot be right.

#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace vmferry::image::vhd {

inline constexpr std::string_view kDamageRemedy =
    "export the disk again and compare checksums of the copies: the file is cut off or damaged";

inline Error Damage(std::string_view reason, std::string message,
                    const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kDataLoss, reason, std::move(message), file, line)
      .WithRemedy(kDamageRemedy);
}

inline constexpr std::string_view kConvertRemedy =
    "convert it first with the program that wrote it, or with: Convert-VHD SOURCE NEW.vhdx";

/// A variant that is understood well enough to be named, but not read.
inline Error Unsupported(std::string_view reason, std::string message,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kUnimplemented, reason, std::move(message), file, line)
      .WithRemedy(kConvertRemedy);
}

}  // namespace vmferry::image::vhd
