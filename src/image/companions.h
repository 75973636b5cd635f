// SPDX-License-Identifier: Apache-2.0
//
// Companions: how a format reaches the other files of its disk: extents and parents.
//
// Names come from inside an image, so from a stranger. They are resolved by the root (open.cc), in
// the folder of the file that names them, and only inside the folder of the disk that was asked for
// and the folders the user allows. A format never opens a file itself.

#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/disk_image.h"
#include "image/probe.h"

namespace vmferry::image {

/// How a format spells the names of files.
enum class NameStyle {
  kUnix,
  kWindows,  ///< backslashes separate; a drive letter, `\\?\` or a share may stand in front
};

struct ParentRequest {
  /// What the image calls its parent, the best name first. Names that lead nowhere, or to a disk of
  /// another identity, are passed over.
  std::vector<std::string> names;
  NameStyle style = NameStyle::kUnix;
  /// Disks move: when no name leads to a file, the last part of each is looked for beside the
  /// image. Only for formats whose parents have an identity.
  bool search_beside = false;
  /// The parent's format where the image declares it (QCOW2 does); otherwise its content decides,
  /// and content without a signature is a raw disk only when it is called one.
  std::optional<Format> format;
  /// What the parent's DiskImageInfo::identity must be; empty when the format has none.
  std::string identity;
  /// What it may be instead: VHDX names a second one while snapshots are merged.
  std::vector<std::string> other_identities;
};

struct ParentDisk {
  std::unique_ptr<DiskImage> image;
  std::string path;
};

class Companions {
 public:
  virtual ~Companions() = default;

  /// Opens a file that holds a part of this disk.
  ///
  /// Errors: kPermissionDenied image.chain.outside; kNotFound image.chain.missing;
  ///         kInvalidArgument image.chain.bad_name, image.chain.not_a_file; kFailedPrecondition
  ///         image.in_use; io.*.
  virtual Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view name,
                                                         NameStyle style = NameStyle::kUnix) = 0;

  /// Opens the disk that this one is a difference to.
  ///
  /// Errors: as OpenExtent, and kDataLoss image.chain.loop, image.chain.too_long,
  ///         image.chain.parent_mismatch; those of the parent's format.
  virtual Result<ParentDisk> OpenParent(const ParentRequest& request) = 0;
};

/// For disks that are not files of their own (memory, a disk inside an OVA): refuses every name
/// with kPermissionDenied image.chain.outside.
Companions& NoCompanions();

}  // namespace vmferry::image
