// SPDX-License-Identifier: Apache-2.0
//
// What ImportImage looks for on the disks of a machine before it makes an image of them, and why it
// refuses them.
//
// Source of the rules and texts: VM Import/Export User Guide, "Requirements", "Limitations" and
// "Troubleshooting"; texts marked so in inspection.cc are this region's own, where AWS's are not
// known.

#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "region/import/guest_files.h"
#include "region/import/partitions.h"

namespace vmferry::region {

/// What is asked of the disks.
struct InspectionRequest {
  std::string boot_mode;  ///< "legacy-bios", "uefi"; empty: by what is found
};

struct Findings {
  std::size_t root_disk = 0;
  std::string boot_mode;     ///< "legacy-bios", "uefi"
  std::string distribution;  ///< "Debian GNU/Linux 12 (bookworm)"
  std::string kernel;        ///< "6.1.0-13-amd64"
  bool ena_support = false;  ///< the kernel has the driver
};

/// `tables[N]` is the partition table of disk N of `files`.
/// Errors: kInvalidArgument region.client_error, with the task's statusMessage; those of
/// GuestFiles.
Result<Findings> InspectGuest(const GuestFiles& files, const std::vector<PartitionTable>& tables,
                              const InspectionRequest& request, const OpContext& op);

/// Values of an os-release file: quotes taken off. For old systems `redhat_release` is what
/// /etc/redhat-release says.
struct Release {
  std::string id;
  std::string version;
  std::string pretty_name;
};
Release ParseRelease(std::string_view os_release, std::string_view redhat_release);

/// The kernel that a GRUB configuration starts: the version in the name of the first `linux` or
/// `kernel` line's file. Empty: none is named.
std::string DefaultKernel(std::string_view grub_config);

}  // namespace vmferry::region
