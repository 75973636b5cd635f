// SPDX-License-Identifier: Apache-2.0
//
// QCOW2: opens a disk image of QEMU, with its chain of backing files and its external data file.

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/companions.h"
#include "image/disk_image.h"

namespace vmferry::image::qcow2 {

/// Opens a QCOW2 file of version 2 or 3.
///
/// Cost:   the first cluster and the L1 table are read (at most 32 MiB); L2 tables too, unless they
///         have more than 16 MiB, to find damage and the allocated size.
/// Errors: kDataLoss qcow2.header.*, .extension.*, .l1.*, .l2.*, .cluster.*, .snapshots.*;
///         kUnimplemented qcow2.header.version, .header.features, .encrypted, .backing.format;
///         kPermissionDenied, kNotFound qcow2.external_data; those of Companions and of the backing
///         file.
/// Source: docs/formats/qcow2.md
Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source, Companions& companions);

}  // namespace vmferry::image::qcow2
