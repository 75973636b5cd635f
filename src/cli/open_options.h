// SPDX-License-Identifier: Apache-2.0
//
// How the words of a command line say a disk is to be opened.

#pragma once

#include "cli/arguments.h"
#include "image/open.h"

namespace vmferry::cli {

/// For the disk `arguments.source`.
image::OpenOptions OpenOptionsOf(const Arguments& arguments);

/// For the disk `arguments.other`.
image::OpenOptions OtherOpenOptionsOf(const Arguments& arguments);

/// Threads for work on the bytes of disks: one for each core, 16 at most.
unsigned ThreadsForDisks();

}  // namespace vmferry::cli
