// SPDX-License-Identifier: Apache-2.0
//
// Exit codes: a contract with scripts, only ever added to. docs/errors.md lists them.

#pragma once

#include "base/result.h"

namespace vmferry::cli {

enum class ExitCode {
  kDone = 0,
  kUnexpected = 1,
  kUsage = 2,
  kSourceInvalid = 3,
  kRefused = 4,
  kUnreachable = 5,
  kDiffers = 6,
  kStateLocked = 7,
  kDidNotComeUp = 8,
  kSomeFailed = 9,
  kInterrupted = 130,
};

ExitCode ExitCodeOf(const Error& error);

}  // namespace vmferry::cli
