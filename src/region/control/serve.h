// SPDX-License-Identifier: Apache-2.0
//
// The daemon: the body of the hidden command `vmferry region serve`, and its arguments.
//
// Thread safety: called from main, before other threads exist.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "region/control/region.h"

namespace vmferry::region::control {

struct ServeOptions {
  RegionOptions region;
  /// Where to report readiness, a pipe's write end; -1: nowhere (in the foreground).
  int ready_descriptor = -1;
};

/// The arguments behind `vmferry` that make the daemon: "region", "serve", ...
std::vector<std::string> ServeArguments(const ServeOptions& options);
/// Reads those behind "region serve". Errors: kInvalidArgument region.bad_option.
Result<ServeOptions> ParseServeArguments(std::span<const std::string> arguments);

/// Runs the region until SIGTERM or SIGINT, then stops it in order.
///
/// Reports on the ready descriptor with one JSON line: {"ready": true} or an error. An error is
/// reported there and returned. Writes region.json and the AWS profile before it reports.
Result<void> Serve(const ServeOptions& options, const World& world);

}  // namespace vmferry::region::control
