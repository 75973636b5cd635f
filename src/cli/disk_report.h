// SPDX-License-Identifier: Apache-2.0
//
// What `image inspect` finds out about one disk, for people and for programs.

#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "guest/guest_layout.h"
#include "image/open.h"
#include "text/json.h"

namespace vmferry::cli {

/// Guest bytes by kind.
struct KindTotals {
  std::uint64_t data_bytes = 0;
  std::uint64_t zero_bytes = 0;
  std::uint64_t hole_bytes = 0;
};

struct DiskReport {
  std::string path;
  image::OpenedDisk disk;
  KindTotals totals;
  guest::GuestLayout guest;
  /// What could not be read, besides the disk's own defects, one sentence each.
  std::vector<std::string> faults;

  /// Nothing wrong was found: neither with the file nor with its tables.
  bool sound() const { return disk.image->Info().defects.empty() && faults.empty(); }
};

/// Looks at everything that takes no more time for a larger disk. What cannot be read becomes a
/// fault of the report: people inspect what is broken.
/// Errors: kCancelled cli.stopped.
Result<DiskReport> ReportDisk(std::string path, image::OpenedDisk disk, std::stop_token stop);

std::string DescribeDisk(const DiskReport& report);
/// The members of schema vmferry.image/1, without "schema".
text::Json DiskToJson(const DiskReport& report);

}  // namespace vmferry::cli
