// SPDX-License-Identifier: Apache-2.0
//
// Writes the OVF descriptor of a machine with one stream-optimised VMDK: OVF 1.0 as VMware,
// VirtualBox and EC2's ImportImage take it.
//
// Specification: DSP0243 1.1.0; the values of ResourceSubType are VMware's.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/units.h"
#include "image/appliance.h"

namespace vmferry::image::ova {

/// What the descriptor says where the description says nothing.
inline constexpr std::uint32_t kDefaultCpus = 2;
inline constexpr std::uint64_t kDefaultMemoryBytes = 2 * kGiB;
inline constexpr std::string_view kDefaultName = "vm";

struct OvfDiskFile {
  std::string file;
  std::uint64_t file_bytes = 0;
  std::uint64_t capacity_bytes = 0;
};

/// Of `vm` are used: name, operating system, CPUs, memory, firmware, the controller of the first
/// disk and the first network.
std::string WriteOvf(const VmDescription& vm, const OvfDiskFile& disk);

/// The name as a part of file names: letters, digits, '.', '_' and '-', at most 64 of them.
std::string PlainName(std::string_view name);

}  // namespace vmferry::image::ova
