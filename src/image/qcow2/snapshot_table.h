// SPDX-License-Identifier: Apache-2.0
//
// The table of internal VM snapshots: only their names are read, for people.
//
// Specification: QEMU's docs/interop/qcow2.txt, "Snapshots".

#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/qcow2/header.h"

namespace vmferry::image::qcow2 {

/// Names that are shown; a disk may have 65,536.
inline constexpr std::size_t kMaxNamedSnapshots = 16;

struct SnapshotNames {
  std::vector<std::string> names;  ///< the first ones; a name that is empty is its id
  /// False when the table could not be followed to the last name that was wanted.
  bool whole = true;
};

/// Reads the first names. A table that makes no sense gives fewer: the disk's bytes do not depend
/// on it.
/// Errors: kDataLoss qcow2.snapshots.range when the table begins outside the file; those of the
///         source.
Result<SnapshotNames> ReadSnapshotNames(const ByteSource& source, const Header& header);

}  // namespace vmferry::image::qcow2
