// SPDX-License-Identifier: Apache-2.0
//
// RawEncoder: the guest's bytes, each at its place; zeros are holes of the file.

#pragma once

#include <cstdint>
#include <memory>

#include "image/encoder.h"

namespace vmferry::image::raw {

struct RawEncoderOptions {
  /// Affects behaviour: runs of at least 64 KiB of zeros become holes even where the source stores
  /// them. Off: what the source stores is stored.
  bool find_zeros = true;
};

std::unique_ptr<Encoder> MakeEncoder(std::uint64_t size_bytes,
                                     const RawEncoderOptions& options = {});

}  // namespace vmferry::image::raw
