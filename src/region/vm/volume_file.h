// SPDX-License-Identifier: Apache-2.0
//
// The qcow2 file of a volume that nobody has written to yet.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "region/vm/sandbox.h"
#include "sys/clock.h"

namespace vmferry::region::vm {

/// Makes `folder / file`: empty, or an overlay on the raw file `backing` of the same folder, whose
/// bytes end where they end; what lies behind them reads as zero. `size_bytes` is the guest's.
///
/// Post:   the file is complete and durable, or not there.
/// Errors: kDataLoss region.tool_failed; kDeadlineExceeded process.timeout.
Result<void> MakeVolumeFile(sys::Clock& clock, const Sandbox& sandbox,
                            const std::filesystem::path& folder, const std::string& file,
                            std::uint64_t size_bytes, const std::string& backing);

}  // namespace vmferry::region::vm
