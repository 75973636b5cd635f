// SPDX-License-Identifier: Apache-2.0
//
// How the words of a command line say a disk is to be opened.

#pragma once

#include <string>

#include "base/result.h"
#include "cli/arguments.h"
#include "image/open.h"

namespace vmferry::cli {

/// For the disk `arguments.source`.
image::OpenOptions OpenOptionsOf(const Arguments& arguments);

/// For the disk `arguments.other`.
image::OpenOptions OtherOpenOptionsOf(const Arguments& arguments);

/// A disk must not be written over, whatever --force says. Errors: kInvalidArgument
/// target.is_source when `target` is one of the disk's files.
Result<void> CheckNotSource(const image::OpenedDisk& disk, const std::string& target);

/// Threads for work on the bytes of disks: one for each core, 16 at most.
unsigned ThreadsForDisks();

}  // namespace vmferry::cli
