// SPDX-License-Identifier: Apache-2.0
//
// Recognises what fills a partition by its signature, with label and UUID. Kinds, labels and UUIDs
// are spelled as blkid spells them.
//
// Source: the layouts are public; each check names its document.

#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "guest/disk_reader.h"
#include "guest/guest_layout.h"

namespace vmferry::guest {

/// What lies in [offset_bytes, offset_bytes + length_bytes), or nothing that is known.
/// Cost:   three to six reads.
/// Errors: those of the disk.
Result<std::optional<FileSystem>> ProbeFileSystem(DiskReader& disk, std::uint64_t offset_bytes,
                                                  std::uint64_t length_bytes);

}  // namespace vmferry::guest
