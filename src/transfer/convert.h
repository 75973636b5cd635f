// SPDX-License-Identifier: Apache-2.0
//
// A disk into a local file of another format, or into nothing: the transfer pipeline with the
// local-file target.

#pragma once

#include <filesystem>
#include <functional>

#include "transfer/encode.h"

namespace vmferry::transfer {

struct ConvertOptions {
  bool replace = false;  ///< an existing file of that name
  EncodeOptions encode;
};

/// Writes `disk` to `path` with `encoder`.
///
/// Post:   on success the file is complete and synced; otherwise `path` is as it was.
/// Errors: those of LocalFileTarget and EncodeDisk.
Result<EncodeOutcome> ConvertToFile(const image::DiskImage& disk, image::Encoder& encoder,
                                    const std::filesystem::path& path,
                                    const ConvertOptions& options,
                                    const std::function<void(const EncodeProgress&)>& on_progress,
                                    const OpContext& context);

/// Encodes `disk` and throws the pieces away: to measure, or to see whether all of it can be read.
Result<EncodeOutcome> ConvertToNothing(
    const image::DiskImage& disk, image::Encoder& encoder, const EncodeOptions& options,
    const std::function<void(const EncodeProgress&)>& on_progress, const OpContext& context);

}  // namespace vmferry::transfer
