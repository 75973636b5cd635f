// SPDX-License-Identifier: Apache-2.0
//
// The errors the appliance parsers return: what cannot be right, and what is not read.

#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace vmferry::image::ova {

inline constexpr std::string_view kDamageRemedy =
    "export the virtual machine again and compare checksums of the copies: the appliance is cut "
    "off or damaged";

inline Error Damage(std::string_view reason, std::string message,
                    const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kDataLoss, reason, std::move(message), file, line)
      .WithRemedy(kDamageRemedy);
}

inline constexpr std::string_view kUnpackRemedy =
    "unpack the appliance (tar -xf FILE.ova) and give the disk inside";

/// A variant that is understood well enough to be named, but not read.
inline Error Unsupported(std::string_view reason, std::string message,
                         std::string_view remedy = kUnpackRemedy,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kUnimplemented, reason, std::move(message), file, line)
      .WithRemedy(remedy);
}

}  // namespace vmferry::image::ova
