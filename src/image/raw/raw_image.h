// SPDX-License-Identifier: Apache-2.0
//
// A raw disk: the stored bytes are the guest's bytes. Holes of a sparse file are holes of the disk.
//
// Any size from one sector on is taken, because EC2 takes any; a size that is not a whole number of
// sectors is reported as a defect (the guest never sees the rest).

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/disk_image.h"

namespace vmferry::image::raw {

/// Errors: kInvalidArgument image.empty (no bytes), image.too_small (less than one sector).
Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source);

}  // namespace vmferry::image::raw
