// SPDX-License-Identifier: Apache-2.0
//
// The VirtualHardwareSection of an OVF descriptor: CPUs, memory, controllers and what hangs on
// them, as CIM items.
//
// Specification: DSP0243 2.1.1, "VirtualHardwareSection"; DSP1041 and CIM_ResourceAllocation-
// SettingData for the numbers of ResourceType.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/appliance.h"
#include "text/xml.h"

namespace vmferry::image::ova {

/// A hard disk of the machine.
struct DriveItem {
  std::string disk_reference;  ///< id of a Disk; empty: the item names none
  DiskController controller = DiskController::kNotSaid;
  std::string controller_type;
  std::optional<std::uint32_t> controller_address;
  std::optional<std::uint32_t> unit;
};

struct HardwareSection {
  std::string system_types;
  std::uint32_t cpu_count = 0;
  std::uint64_t memory_bytes = 0;
  Firmware firmware = Firmware::kNotSaid;
  std::vector<DriveItem> drives;  ///< in boot order, so far as it is known
  std::vector<VmNic> nics;
};

/// Reads the hardware of a VirtualSystem. Numbers that make no sense are left out and told among
/// the defects: they describe the machine, but its disks can be read without them.
HardwareSection ReadHardware(const text::XmlElement& system, std::vector<std::string>& defects);

/// oVirt's word for how a disk is attached.
DiskController ControllerOfInterface(std::string_view interface);

}  // namespace vmferry::image::ova
