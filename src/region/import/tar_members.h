// SPDX-License-Identifier: Apache-2.0
//
// What lies where in a tar file: enough to find the files of an OVA, and strict, since the file
// comes from a stranger. Nothing is unpacked here.
//
// Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar's long
// names and base-256 sizes, which virtualisation products write.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::region {

struct TarMember {
  std::string name;
  std::uint64_t offset_bytes = 0;  ///< of its content within the archive
  std::uint64_t size_bytes = 0;
};

/// The regular files of the archive, in its order; folders are passed over.
/// Errors: kInvalidArgument region.upload_refused: no tar, damaged, a name twice or with a path,
/// links and devices, more than 1,000 members.
Result<std::vector<TarMember>> ReadTarMembers(const sys::File& file);

}  // namespace vmferry::region
