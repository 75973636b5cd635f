// SPDX-License-Identifier: Apache-2.0
//
// Sizes in the file ID.puts; private to snapshot_upload.cc and snapshot_assemble.cc.

#pragma once

#include <cstddef>
#include <cstdint>

namespace vmferry::region::vm {

inline constexpr std::size_t kPutsHeaderBytes = 16;  // magic, size of the volume
inline constexpr std::size_t kPutsRecordBytes = 56;  // index, slot, digest, check

}  // namespace vmferry::region::vm
