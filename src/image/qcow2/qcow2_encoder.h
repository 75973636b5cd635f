// SPDX-License-Identifier: Apache-2.0
//
// Encoders for QCOW2 version 3 with clusters of 64 KiB, plain or compressed (deflate, ISA-L level
// 1). Clusters without any byte but zero are left out.
//
// The file is written front to back: clusters, each L2 table behind the clusters it maps, each
// refcount block once all clusters it counts are laid out, then L1 and refcount table. The header
// is written last, over the cluster that was kept free for it: an unfinished file is no QCOW2.
//
// Specification: QEMU's docs/interop/qcow2.txt.

#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "image/encoder.h"

namespace vmferry::image::qcow2 {

/// The size is rounded up to whole sectors, as QEMU counts a disk in them.
/// Errors: kOutOfRange qcow2.encoder.too_large beyond 2 PiB, where the L1 table has 32 MiB.
Result<std::unique_ptr<Encoder>> MakePlainEncoder(std::uint64_t size_bytes);

/// The same, compressed. Clusters that do not shrink are stored plain.
Result<std::unique_ptr<Encoder>> MakeCompressedEncoder(std::uint64_t size_bytes);

}  // namespace vmferry::image::qcow2
