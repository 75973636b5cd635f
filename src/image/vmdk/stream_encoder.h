// SPDX-License-Identifier: Apache-2.0
//
// StreamEncoder: writes a disk as stream-optimised VMDK, front to back, as VMware's own exports are
// laid out: header, descriptor, grains with their tables behind them, directory, footer.
//
// Grains are 64 KiB and compressed with ISA-L level 1; grains without any byte but zero are left
// out. The stream can be cut between any two grains and gone on with in another process.
//
// Specification: VMware "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse
// Extents".

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "image/encoder.h"

namespace vmferry::image::vmdk {

struct StreamEncoderOptions {
  /// Affects behaviour: the content id in the descriptor comes from the content, written over its
  /// place when all is known; needs a target that keeps a file. Off: it comes from the size alone,
  /// and the encoder can be restarted.
  bool content_id_from_content = false;
  /// What the descriptor calls the file. A plain name without quotes.
  std::string file_name = "disk.vmdk";
};

/// Errors: kOutOfRange vmdk.encoder.too_large for more than 64 TiB.
Result<std::unique_ptr<Encoder>> MakeStreamEncoder(std::uint64_t size_bytes,
                                                   const StreamEncoderOptions& options = {});

}  // namespace vmferry::image::vmdk
