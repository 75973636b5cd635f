// SPDX-License-Identifier: Apache-2.0
//
// A stream-optimised VMDK: one file of compressed grains, as ovftool, VirtualBox and qemu-img
// write it and as EC2 imports it.
//
// Memory: the grain directory (at most 8 MiB), a cache of grain tables (half a mebibyte), and for
// each read under way its compressed bytes (at most 2 MiB and two grains).
//
// Specification: VMware "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse
// Extents"; docs/formats/vmdk.md tells what is accepted beyond it.

#pragma once

#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/disk_image.h"

namespace vmferry::image::vmdk {

/// Opens the disk and checks all its structures but the content of the grains: header, footer,
/// descriptor, directory, every table, and that the last grain lies inside the file.
///
/// Cost:   reads all grain tables once: 64 MiB for a full disk of 1 TiB.
/// Errors: kDataLoss vmdk.header.*, vmdk.footer.*, vmdk.descriptor.*, vmdk.grain_directory.*,
///         vmdk.grain_table.*, vmdk.grain.*; kUnimplemented for variants that are not read.
Result<std::unique_ptr<DiskImage>> OpenStreamOptimized(std::unique_ptr<ByteSource> source);

}  // namespace vmferry::image::vmdk
