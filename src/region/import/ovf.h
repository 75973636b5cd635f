// SPDX-License-Identifier: Apache-2.0
//
// The OVF envelope of an OVA, as far as the import service needs it: which files are the disks of
// the one virtual machine, in the order in which it sees them, and its firmware.
//
// Source: DMTF DSP0243, "Open Virtualization Format Specification" 2.1.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vmferry::region {

struct Ovf {
  /// Names of members of the archive, as the machine sees its disks.
  std::vector<std::string> disk_files;
  bool uefi = false;
};

/// Errors: kInvalidArgument region.upload_refused: with AWS's words for chunked disks, else
/// "Unsupported OVA format".
Result<Ovf> ParseOvf(std::string_view document);

}  // namespace vmferry::region
