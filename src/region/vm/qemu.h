// SPDX-License-Identifier: Apache-2.0
//
// The QEMU command line of an instance: what an instance type becomes on this machine.
//
// Pure functions. Everything is named relative to the disks folder, which is the working folder.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmferry::region::vm {

struct InstanceType {
  std::string_view name;
  std::uint32_t memory_mib;
  std::uint32_t processors;
};

/// EC2's size of the type; nothing for types this region does not know.
std::optional<InstanceType> FindInstanceType(std::string_view name);

struct GuestPlan {
  std::string instance_id;  ///< also the name of its folder
  std::string volume_id;    ///< shown as the NVMe serial number, as on Nitro
  std::string volume_file;  ///< qcow2
  std::uint32_t memory_mib = 512;
  std::uint32_t processors = 1;
  std::uint16_t ssh_port = 0;  ///< on 127.0.0.1, forwarded to the guest's port 22
  bool kvm = false;
};

/// q35, BIOS, NVMe root, serial console in a file, monitor on a socket, network that reaches
/// nothing but the forwarded port, QEMU's own sandbox.
std::vector<std::string> QemuCommand(const GuestPlan& plan);

}  // namespace vmferry::region::vm
