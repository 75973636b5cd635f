// SPDX-License-Identifier: Apache-2.0
//
// Disks where the sandbox's user can name them by an absolute path.
//
// grub-fstest resolves its arguments to absolute paths, other than qemu-img. The region's folder
// may lie below one that the unprivileged user cannot enter (/root); then the disks get second
// names (hard links) in a folder of their own in /var/tmp, /tmp or above the region's folder.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace vmferry::region {

struct ReachableDisks {
  std::filesystem::path folder;
  std::vector<std::string> names;  ///< within it
};

/// `names` are files named relative to `work`; `id` names the folder, when one is needed.
/// Errors: kFailedPrecondition region.folder_unreachable: none of the places is on the file system
/// of the region's folder.
Result<ReachableDisks> MakeReachable(const std::filesystem::path& work,
                                     std::vector<std::string> names, const std::string& id);

/// Takes the second names of `id` away, if there are any.
void RemoveReachable(const std::filesystem::path& work, const std::string& id);

}  // namespace vmferry::region
