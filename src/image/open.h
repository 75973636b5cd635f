// SPDX-License-Identifier: Apache-2.0
//
// OpenDisk: from a place to a DiskImage, with all the files it is made of.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/disk_image.h"
#include "sys/file.h"

namespace vmferry::image {

struct OpenOptions {
  /// Opens a disk although something is writing to it: what is read may then never have been on
  /// the disk at one time. For those who know.
  bool allow_running = false;
  /// Folders, beside the disk's own, in which its extents and parents may lie.
  std::vector<std::filesystem::path> allow_paths;
  /// Which disk of an appliance, from 1. Needed only when it has several.
  std::optional<std::uint32_t> disk;
};

enum class FileRole {
  kDisk,    ///< what was asked for
  kExtent,  ///< a part that a descriptor names
  kParent,  ///< further down the chain
};

/// A file that was opened for a disk, in the order of opening.
struct DiskFile {
  std::string path;  ///< resolved; the first one as it was given
  FileRole role = FileRole::kDisk;
  sys::FileIdentity identity;
};

struct OpenedDisk {
  std::unique_ptr<DiskImage> image;
  std::vector<DiskFile> files;  ///< empty when the disk is not a file (NBD)
  /// What is odd about where it lies, one sentence each: an extension that disagrees.
  std::vector<std::string> remarks;
};

/// Longest chain, parents included. VMware stops at 32 VM snapshots, libvirt warns long before.
inline constexpr std::size_t kMaxChain = 64;

/// Opens the disk at `location` for reading, whatever its format.
///
/// The content decides, never the extension: but content without a signature is a raw disk only
/// when the file has no extension or one that raw disks have (.raw .img .bin .dd), or is a block
/// device. Garbage called disk.vmdk is refused rather than imported. An extension that disagrees
/// with the content is reported among the remarks.
///
/// Errors: kNotFound io.not_found; kPermissionDenied io.permission_denied;
///         kInvalidArgument io.is_directory, image.not_a_file, image.empty, image.too_small,
///         image.extension_mismatch, image.unknown_format; kUnimplemented
///         image.unsupported_format; kFailedPrecondition image.in_use; those of the format and of
///         Companions.
Result<OpenedDisk> OpenDisk(const std::string& location, const OpenOptions& options = {});

/// True when the location is not a path but a URI of a kind OpenDisk knows: nbd, nbds, nbd+unix...
bool IsUri(const std::string& location);

/// Opens bytes that are not a file; `name` stands in for the path in the rule about extensions.
/// Such a disk has no companions.
Result<std::unique_ptr<DiskImage>> OpenDiskSource(std::unique_ptr<ByteSource> source,
                                                  const std::filesystem::path& name);

}  // namespace vmferry::image
