// SPDX-License-Identifier: Apache-2.0
//
// OverlaySource: a file as it would be after its log was replayed. The file itself is not written.
//
// What the log says stays in the log: only where it stands is held in memory.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/units.h"
#include "image/byte_source.h"

namespace vmferry::image::vhdx {

inline constexpr std::uint64_t kLogSectorBytes = 4 * kKiB;

/// A write that was logged. Offset and length are multiples of kLogSectorBytes.
struct LoggedWrite {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< > 0; of data: one log sector
  bool zero = false;
  /// Of data: its first 8 and last 4 bytes, and where in the file the 4084 between them stand.
  std::uint64_t leading = 0;
  std::uint32_t trailing = 0;
  std::uint64_t place_bytes = 0;
};

/// Logged writes, the later ones over the earlier ones.
class LoggedWrites {
 public:
  void Add(const LoggedWrite& write);
  /// Ordered by offset; none overlap.
  std::vector<LoggedWrite> List() const;

 private:
  std::map<std::uint64_t, LoggedWrite> writes_;
};

/// Pre: `writes` are what LoggedWrites lists; size_bytes >= file->SizeBytes().
std::unique_ptr<ByteSource> MakeOverlaySource(std::unique_ptr<ByteSource> file,
                                              std::vector<LoggedWrite> writes,
                                              std::uint64_t size_bytes);

}  // namespace vmferry::image::vhdx
