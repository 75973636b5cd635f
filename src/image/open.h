// SPDX-License-Identifier: Apache-2.0
//
// OpenDisk: from a path to a DiskImage.

#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/disk_image.h"

namespace vmferry::image {

struct OpenOptions {
  /// Opens a disk although something is writing to it: what is read may then never have been on
  /// the disk at one time. For those who know.
  bool allow_running = false;
};

/// Opens the disk at `path` for reading, whatever its format.
///
/// The content decides, never the extension: but content without a signature is a raw disk only
/// when the file has no extension or one that raw disks have (.raw .img .bin .dd), or is a block
/// device. Garbage called disk.vmdk is refused rather than imported.
///
/// Errors: kNotFound io.not_found; kPermissionDenied io.permission_denied;
///         kInvalidArgument io.is_directory, image.not_a_file, image.empty, image.too_small,
///         image.extension_mismatch, image.unknown_format; kUnimplemented
///         image.unsupported_format; kFailedPrecondition image.in_use; those of the format.
Result<std::unique_ptr<DiskImage>> OpenDisk(const std::filesystem::path& path,
                                            const OpenOptions& options = {});

/// Opens bytes that are not a file; `name` stands in for the path in the rule about extensions.
Result<std::unique_ptr<DiskImage>> OpenDiskSource(std::unique_ptr<ByteSource> source,
                                                  const std::filesystem::path& name);

}  // namespace vmferry::image
