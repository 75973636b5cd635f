// SPDX-License-Identifier: Apache-2.0
//
// The gate for VHDX: a fixed or dynamic disk, never one that names a parent.
//
// Reads region table and metadata table, the two places that tell; nothing behind them.

#pragma once

#include <cstdint>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::region {

/// Errors: kInvalidArgument region.upload_refused.
/// Source: [MS-VHDX], sections 2.2 (header section), 2.6 (metadata region).
Result<void> CheckVhdx(const sys::File& file, std::uint64_t file_bytes);

}  // namespace vmferry::region
