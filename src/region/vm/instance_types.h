// SPDX-License-Identifier: Apache-2.0
//
// Instance types: those of EC2 that this region starts, as EC2 describes them. Data, not code.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace vmferry::region::vm {

enum class Hypervisor : std::uint8_t { kXen, kNitro };

struct InstanceType {
  std::string_view name;
  std::uint32_t memory_mib;
  std::uint32_t processors;
  /// Nitro: NVMe disks, UEFI as well as BIOS, and for x86_64 images ENA is required.
  Hypervisor hypervisor = Hypervisor::kNitro;
  bool current_generation = true;
  bool burstable = false;
  bool free_tier = false;
  /// Starts 32-bit images too.
  bool takes_i386 = false;
};

/// By name.
std::span<const InstanceType> InstanceTypes();

/// Nothing for types this region does not know.
std::optional<InstanceType> FindInstanceType(std::string_view name);

}  // namespace vmferry::region::vm
