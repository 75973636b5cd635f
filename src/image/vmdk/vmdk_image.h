// SPDX-License-Identifier: Apache-2.0
//
// VMDK in all the layouts that keep a disk in files: monolithicSparse, streamOptimized,
// monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, vmfs, vmfsSparse, seSparse and custom,
// alone or in a chain of VM snapshots.
//
// Memory: the grain directories (at most 16 MiB), a cache of grain tables (4 MiB), and for each
// read of compressed grains under way some 700 KiB.
//
// Specification: VMware "Virtual Disk Format 5.0"; docs/formats/vmdk.md tells what is accepted
// beyond it.

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/companions.h"
#include "image/disk_image.h"

namespace vmferry::image::vmdk {

/// Opens the disk and checks all its structures but the content of grains: headers, footer,
/// descriptor, directories, tables, and that flat extents and the last grains lie inside their
/// files. A file that was cut off is found out here.
///
/// Cost:   reads all grain tables of stream-optimised extents (64 MiB for a full disk of 1 TiB),
///         and up to 256 MiB of those of others.
/// Errors: kDataLoss vmdk.header.*, vmdk.footer.*, vmdk.descriptor.*, vmdk.grain_directory.*,
///         vmdk.grain_table.*, vmdk.grain.*, vmdk.extent.*, vmdk.cow.*, vmdk.se_sparse.*;
///         kUnimplemented for variants that are not read; kInvalidArgument vmdk.extent.alone; those
///         of `companions`.
Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source, Companions& companions);

}  // namespace vmferry::image::vmdk
