// SPDX-License-Identifier: Apache-2.0
//
// OvaEncoder: writes a disk as an appliance: descriptor, stream-optimised VMDK and manifest in one
// tar archive.
//
// The disk is what the encoder of image/vmdk makes; it is hashed as it passes. Its size and the
// final descriptor are written over their places at the end, so only targets that keep a file can
// take it. The manifest comes last, as DSP0243 allows for archives that are written as a stream.
//
// Specification: DSP0243 1.1.0, "Distribution as a single file".

#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "image/appliance.h"
#include "image/encoder.h"

namespace vmferry::image::ova {

struct OvaEncoderOptions {
  /// What the descriptor says of the machine; what is 0 or empty gets a default: the name "vm", 2
  /// CPUs, 2 GiB of memory, SCSI. See WriteOvf.
  VmDescription vm;
  /// Time of the files in the archive, in seconds since the epoch: SOURCE_DATE_EPOCH. The same
  /// for all, and never the clock's, so that the same disk gives the same file.
  std::uint64_t modified_s = 0;
};

/// Errors: those of the VMDK encoder.
Result<std::unique_ptr<Encoder>> MakeOvaEncoder(std::uint64_t size_bytes,
                                                const OvaEncoderOptions& options = {});

}  // namespace vmferry::image::ova
