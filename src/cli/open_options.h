// SPDX-License-Identifier: Apache-2.0
//
// How the words of a command line say a disk is to be opened.

#pragma once

#include "cli/arguments.h"
#include "image/open.h"

namespace vmferry::cli {

/// For the disk `arguments.source`.
image::OpenOptions OpenOptionsOf(const Arguments& arguments);

}  // namespace vmferry::cli
