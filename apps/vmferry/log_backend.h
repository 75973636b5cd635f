// SPDX-License-Identifier: Apache-2.0
//
// LogBackend: base's log interface over spdlog.

#pragma once

#include <filesystem>
#include <memory>

#include "base/log.h"

namespace vmferry::app {

/// Writes warnings and, with `debug`, everything to standard error, one event a line.
std::unique_ptr<Log> MakeLog(bool debug);

}  // namespace vmferry::app
