// SPDX-License-Identifier: Apache-2.0
//
// The log: writes to the BAT and the metadata that may not have reached their places. It is a ring
// of entries; the active sequence among them is what has to be replayed.
//
// Source: [MS-VHDX] 2.3.

#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/vhdx/header.h"
#include "image/vhdx/overlay_source.h"

namespace vmferry::image::vhdx {

/// Longest log that is replayed. Hyper-V's are 1 MiB.
inline constexpr std::uint64_t kMaxLogBytes = 256 * kMiB;
/// Most writes in the active sequence, so that they fit in memory: twice what fits into the
/// longest log as data.
inline constexpr std::uint64_t kMaxLoggedWrites = 2 * kMaxLogBytes / kLogSectorBytes;

struct Replay {
  std::uint64_t entry_count = 0;  ///< 0: nothing to replay
  std::vector<LoggedWrite> writes;
  std::uint64_t file_bytes = 0;  ///< size of the file afterwards
  /// The header says that there is a log, but none of its entries were ever written.
  bool never_written = false;
};

/// Finds out what the log of a file that was not closed would write. Nothing is written.
///
/// Pre:    the header was checked: the log lies inside the file.
/// Cost:   reads the log a few times at most.
/// Errors: kUnimplemented vhdx.log.version, vhdx.log.too_large;
///         kDataLoss vhdx.log.damaged (entries, but no whole sequence of them),
///         vhdx.log.file_truncated (the file is shorter than when the log was written);
///         those of the source.
Result<Replay> ReplayLog(const ByteSource& source, const Header& header);

}  // namespace vmferry::image::vhdx
