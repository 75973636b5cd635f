// SPDX-License-Identifier: Apache-2.0
//
// Opens VHDX disk images, Hyper-V's format: fixed, dynamic and differencing ones.

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/companions.h"
#include "image/disk_image.h"

namespace vmferry::image::vhdx {

/// Opens a VHDX, and the parents of a differencing one.
///
/// A log that was left behind is replayed in memory; the file is not written. Every entry of the
/// block allocation table is looked at once, so that what overlaps or is cut off is found here.
///
/// Cost:   reads what is stored of the BAT (8 bytes for each block).
/// Errors: kInvalidArgument, kDataLoss, kUnimplemented vhdx.*; those of the source and of
///         Companions::OpenParent.
/// Source: [MS-VHDX], revision 6.0.
Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source, Companions& companions);

}  // namespace vmferry::image::vhdx
