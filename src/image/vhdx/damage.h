// SPDX-License-Identifier: Apache-2.0
//
// The errors that VHDX's parsers return.

#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace vmferry::image::vhdx {

/// For a structure that cannot be right.
inline Error Damage(std::string_view reason, std::string message,
                    const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kDataLoss, reason, std::move(message), file, line)
      .WithRemedy(
          "compare checksums with the original, as the file is cut off or damaged; Hyper-V's "
          "Test-VHD says more");
}

/// For a variant that is understood well enough to be named, but not read.
inline Error Unsupported(std::string_view reason, std::string message,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kUnimplemented, reason, std::move(message), file, line)
      .WithRemedy("convert it first with Hyper-V: Convert-VHD SOURCE.vhdx NEW.vhdx");
}

}  // namespace vmferry::image::vhdx
