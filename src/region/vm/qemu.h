// SPDX-License-Identifier: Apache-2.0
//
// The QEMU command line of an instance, and the monitor commands that add a disk to a running one.
//
// Pure functions. Everything is named relative to the disks folder, which is the working folder.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "region/vm/instance_types.h"
#include "text/json.h"

namespace vmferry::region::vm {

/// How the guest sees its disks. EC2 has NVMe (Nitro) only; the others are for guests that know no
/// NVMe, so that a rehearsal can tell "no driver" from other failures.
enum class DiskBus : std::uint8_t { kNvme, kVirtio, kSata };

/// "nvme", "virtio", "sata".
std::string_view DiskBusName(DiskBus bus);
std::optional<DiskBus> ParseDiskBus(std::string_view name);

/// Disks of one instance, the root included: EC2's limit for most Nitro types.
inline constexpr std::size_t kDisksMax = 28;
/// Of them on SATA, which has one controller of six ports.
inline constexpr std::size_t kSataDisksMax = 6;

struct GuestDisk {
  std::string volume_id;  ///< shown as the serial number, as on Nitro: "vol0123..."
  std::string file;       ///< qcow2
};

struct GuestPlan {
  std::string instance_id;       ///< also the name of its folder
  std::vector<GuestDisk> disks;  ///< the root first, then in the order in which they are found
  DiskBus disk_bus = DiskBus::kNvme;
  /// UEFI instead of BIOS; its variables are in the file `variables_file`.
  bool uefi = false;
  std::string variables_file;
  std::uint32_t memory_mib = 512;
  std::uint32_t processors = 1;
  std::uint16_t ssh_port = 0;  ///< on 127.0.0.1, forwarded to the guest's port 22
  std::string private_ip;      ///< what DHCP offers; empty: QEMU's own network
  std::string mac_address;     ///< empty: QEMU's own
  bool kvm = false;
};

/// Firmware of UEFI instances, and the variables a new one begins with (Debian's ovmf).
inline constexpr std::string_view kUefiCode = "/usr/share/OVMF/OVMF_CODE_4M.fd";
inline constexpr std::string_view kUefiVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// q35, the disks, serial console in a file, a display nobody sees but screendump, monitor on a
/// socket, network that reaches nothing but the forwarded port, QEMU's own sandbox.
std::vector<std::string> QemuCommand(const GuestPlan& plan);

/// Places for disks besides the root's in a guest that began with so many of them.
std::size_t PortsOf(std::size_t data_disks);

/// Arguments of blockdev-add and device_add for a disk at a place; and the ids that device_del and
/// blockdev-del take.
text::Json BlockNodeOf(const GuestDisk& disk);
text::Json DeviceOf(const GuestDisk& disk, DiskBus bus, std::size_t port);
std::string NodeName(std::string_view volume_id);
std::string DeviceName(std::string_view volume_id);

/// The locally administered address of an instance's network card, the same at every start.
std::string MacAddressOf(std::string_view instance_id);

}  // namespace vmferry::region::vm
