// SPDX-License-Identifier: Apache-2.0
//
// Finds out whether somebody is writing to a disk file: QEMU's locks, VMware's lock files, and
// block devices that are mounted. It sees what announces itself, and nothing more.

#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::image {

/// Who seems to be writing to the open file, as words for people; nothing when nobody is seen.
///
/// QEMU: since 2.10 it holds open-file-description locks on single bytes of its images; a lock
/// on byte 101 announces a writer, one on byte 200 somebody who wants no reader beside him
/// (block/file-posix.c: RAW_LOCK_PERM_BASE 100, RAW_LOCK_SHARED_BASE 200). VMware: a `.lck`
/// folder beside the file with something in it, or on NFS a `.lck-<file id>` file.
Result<std::optional<std::string>> FindWriter(const sys::File& file);

}  // namespace vmferry::image
