// SPDX-License-Identifier: Apache-2.0
//
// What the two VHD encoders have in common.

#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "image/encoder.h"
#include "image/vhd/encoder.h"
#include "image/vhd/footer.h"

namespace vmferry::image::vhd {

/// Format, sizes and remarks of a disk of `type`; id and unit are the encoder's.
/// Errors: kOutOfRange vhd.encoder.too_large.
Result<EncoderInfo> DescribeEncoder(std::uint64_t size_bytes, DiskType type);

/// The footer of the disk that `info` describes.
Footer MakeFooter(const EncoderInfo& info, DiskType type, const UniqueId& id,
                  const EncoderOptions& options);

}  // namespace vmferry::image::vhd
