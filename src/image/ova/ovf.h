// SPDX-License-Identifier: Apache-2.0
//
// The OVF descriptor: the XML that says what the virtual machine is and which files are its disks.
//
// OVF 1.x and 2.0 as VMware, VirtualBox, oVirt and others write them. One virtual system is read;
// what would make its disks something else than files as they are (chunks, compression, parents,
// places on the network) is refused by name.
//
// Specification: DSP0243 1.1.0 and 2.1.1, "Open Virtualization Format Specification".

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "image/appliance.h"

namespace vmferry::image::ova {

/// The largest one known, with EULA and many properties, has 200 KiB.
inline constexpr std::uint64_t kMaxOvfBytes = kMiB;
inline constexpr std::size_t kMaxOvfElements = 50'000;
/// VMware allows 4 x 64 SCSI, 4 x 30 SATA and 4 x 64 NVMe disks.
inline constexpr std::size_t kMaxVmDisks = 1024;
inline constexpr std::size_t kMaxVmNics = 64;

/// A file of the References that is the content of a disk.
struct OvfFile {
  std::string href;  ///< as written; a plain relative name once "%20" and the like are decoded
  std::optional<std::uint64_t> size_bytes;
};

struct OvfDescriptor {
  VmDescription vm;                 ///< with at least one disk
  std::vector<OvfFile> disk_files;  ///< of vm.disks, in the same order
  std::vector<std::string> defects;
};

/// Reads a descriptor.
///
/// Errors: kDataLoss ova.ovf.xml, .too_large, .not_an_envelope, .capacity, .duplicate,
///         .disk_reference, .file_reference, .shared_file, .bad_href; kUnimplemented
///         ova.ovf.version, .remote_file, .compressed, .chunked, .parent, .too_many,
///         ova.several_systems, ova.no_system, ova.no_disk.
Result<OvfDescriptor> ParseOvf(std::string_view text);

/// The factor that an allocation unit stands for: "byte * 2^30", "GigaBytes", "byte*1024^3".
/// Nothing when it is not understood or too large.
std::optional<std::uint64_t> ParseAllocationUnits(std::string_view text);

}  // namespace vmferry::image::ova
