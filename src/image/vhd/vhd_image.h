// SPDX-License-Identifier: Apache-2.0
//
// Opens VHDs of Virtual PC, Hyper-V and whoever writes their format: fixed, dynamic, differencing.
//
// "VHD 1.0" in comments is Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0.

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/companions.h"
#include "image/disk_image.h"

namespace vmferry::image::vhd {

/// Reads the footer, the header and the whole block allocation table, and opens the parent.
///
/// Cost:   reads 4 bytes for each block of the disk (4 MiB for the largest with usual blocks);
///         keeps 8 MiB at most.
/// Errors: kDataLoss and kUnimplemented vhd.*; for a differencing disk those of
///         Companions::OpenParent.
Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source, Companions& companions);

}  // namespace vmferry::image::vhd
