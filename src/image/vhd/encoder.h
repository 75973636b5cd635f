// SPDX-License-Identifier: Apache-2.0
//
// Encoders that write VHDs: fixed (the bytes and a footer) and dynamic (blocks that are all zero
// are left out).
//
// The size is the source's to the byte, or the next whole sector: the footer names as its creator
// one whose disks have the "current size", not the size of their geometry (docs/formats/vhd.md).
// The unique id is made from the content, so the same disk gives the same file.

#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "image/encoder.h"

namespace vmferry::image::vhd {

struct EncoderOptions {
  /// Affects behaviour: the time of creation that the disk is given, in seconds since 1970
  /// (SOURCE_DATE_EPOCH). Times before 2000 become the first second VHDs know.
  std::uint64_t unix_time_seconds = 0;
};

/// A fixed disk: a stream that can be gone on with from a cursor. Zeros are skipped.
/// Errors: kOutOfRange vhd.encoder.too_large for more than 2,040 GiB.
Result<std::unique_ptr<Encoder>> MakeFixedEncoder(std::uint64_t size_bytes,
                                                  const EncoderOptions& options = {});

/// A dynamic disk with blocks of 2 MiB: header and block table are written over their places at the
/// end. Memory: 4 bytes for each block, 4 MiB at most, and what the workers need.
/// Errors: as MakeFixedEncoder.
Result<std::unique_ptr<Encoder>> MakeDynamicEncoder(std::uint64_t size_bytes,
                                                    const EncoderOptions& options = {});

}  // namespace vmferry::image::vhd
