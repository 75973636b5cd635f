// SPDX-License-Identifier: Apache-2.0
//
// The error every VMDK parser returns for a structure that cannot be right.

#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace vmferry::image::vmdk {

inline constexpr std::string_view kDamageRemedy =
    "export the disk again and compare checksums of the copies: the file is cut off or damaged";

inline Error Damage(std::string_view reason, std::string message,
                    const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kDataLoss, reason, std::move(message), file, line)
      .WithRemedy(kDamageRemedy);
}

inline constexpr std::string_view kConvertRemedy =
    "convert it first: qemu-img convert -O vmdk -o subformat=streamOptimized SOURCE NEW.vmdk";

/// A variant that is understood well enough to be named, but not read.
inline Error Unsupported(std::string_view reason, std::string message,
                         const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Error(ErrorCode::kUnimplemented, reason, std::move(message), file, line)
      .WithRemedy(kConvertRemedy);
}

/// A file that is only a part of a disk was given instead of the disk.
inline Error ExtentAlone(std::string_view why, const char* file = __builtin_FILE(),
                         int line = __builtin_LINE()) {
  std::string message = "this file is one extent of a VMDK, not the disk: ";
  message += why;
  return Error(ErrorCode::kInvalidArgument, "vmdk.extent.alone", std::move(message), file, line)
      .WithRemedy("give the descriptor instead: the small .vmdk text file that names this one");
}

}  // namespace vmferry::image::vmdk
