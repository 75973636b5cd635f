// SPDX-License-Identifier: Apache-2.0
//
// VMFERRY_CHECK: stops the process on a programmer's error. On in every build, never used on input.

#pragma once

namespace vmferry::internal {
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);
}  // namespace vmferry::internal

#define VMFERRY_CHECK(condition)      \
  ((condition) ? static_cast<void>(0) \
               : ::vmferry::internal::CheckFailed(#condition, __FILE__, __LINE__))
