// SPDX-License-Identifier: Apache-2.0
//
// Takes the disks out of an OVA: the archive's files, chosen and ordered by its OVF.

#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "region/import/manifest.h"

namespace vmferry::region {

struct ApplianceDisk {
  ImageFormat format = ImageFormat::kVmdk;  ///< by the file's name
  std::uint64_t file_bytes = 0;
};

struct Appliance {
  std::vector<ApplianceDisk> disks;
  bool uefi = false;
};

/// Copies disk N of the archive to `name(N)` in `work`.
/// Errors: kInvalidArgument region.client_error; kCancelled process.stopped; those of sys::File.
Result<Appliance> TakeApart(const std::filesystem::path& archive, const std::filesystem::path& work,
                            const std::function<std::string(std::size_t)>& name,
                            const OpContext& op);

}  // namespace vmferry::region
