// SPDX-License-Identifier: Apache-2.0
#include "region/vm/qemu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "codec/digest.h"

namespace vmferry::region::vm {
namespace {

constexpr std::size_t kPortsMin = 8;   // so that some disks can be attached while it runs
constexpr std::size_t kPortsFree = 4;  // beside those it begins with

// "vol-0123..." is "vol0123..." as serial number: 20 characters, all that NVMe has.
std::string SerialOf(std::string_view volume_id) {
  std::string serial(volume_id);
  std::erase(serial, '-');
  return serial.substr(0, 20);
}

// The root sits on the root bus before all others, so that it is found first.
std::string RootDevice(const GuestDisk& disk, DiskBus bus) {
  const std::string common =
      fmt::format("id={},drive={},serial={},bootindex=0", DeviceName(disk.volume_id),
                  NodeName(disk.volume_id), SerialOf(disk.volume_id));
  switch (bus) {
    case DiskBus::kNvme:
      return fmt::format("nvme,addr=0x3,{}", common);
    case DiskBus::kVirtio:
      return fmt::format("virtio-blk-pci,addr=0x3,{}", common);
    case DiskBus::kSata:
      return fmt::format("ide-hd,bus=ide.0,{}", common);
  }
  return {};
}

// The command line's form of a monitor command's arguments.
std::string Options(const text::Json& arguments) {
  std::string options;
  for (const auto& [name, value] : arguments.Members()) {
    if (!options.empty()) options += ',';
    options += name == "driver" ? value.AsString() : fmt::format("{}={}", name, value.AsString());
  }
  return options;
}

void AddDisks(const GuestPlan& plan, std::vector<std::string>& command) {
  for (const GuestDisk& disk : plan.disks) {
    const std::string node = NodeName(disk.volume_id);
    command.insert(
        command.end(),
        {"-blockdev",
         fmt::format("driver=file,node-name={}-file,filename={},discard=unmap", node, disk.file),
         "-blockdev", fmt::format("driver=qcow2,node-name={0},file={0}-file,discard=unmap", node)});
  }
  if (plan.disks.empty()) return;
  // PCI Express's own hot-plug: QEMU's ACPI tables describe only the first function of each slot.
  command.insert(command.end(), {"-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"});
  command.insert(command.end(), {"-device", RootDevice(plan.disks[0], plan.disk_bus)});
  // Behind ports of their own, where they can be taken away and others added while it runs.
  const std::size_t ports = plan.disk_bus == DiskBus::kSata ? 0 : PortsOf(plan.disks.size() - 1);
  for (std::size_t port = 0; port < ports; ++port) {
    command.insert(
        command.end(),
        {"-device", fmt::format("pcie-root-port,id=port{0},chassis={1},slot={1},multifunction=on,"
                                "addr={2:#x}.{3:#x},io-reserve=0",
                                port, port + 1, 0x10 + port / 8, port % 8)});
  }
  for (std::size_t i = 1; i < plan.disks.size(); ++i) {
    command.insert(command.end(),
                   {"-device", Options(DeviceOf(plan.disks[i], plan.disk_bus, i - 1))});
  }
}

void AddNetwork(const GuestPlan& plan, std::vector<std::string>& command) {
  // restrict=on: the guest reaches neither the host nor the world.
  std::string network = "user,id=net,restrict=on";
  if (!plan.private_ip.empty()) {
    // The default subnet's; its router and resolver have EC2's addresses.
    network += fmt::format(",net=172.31.0.0/20,host=172.31.0.1,dns=172.31.0.2,dhcpstart={}",
                           plan.private_ip);
  }
  network += fmt::format(",hostfwd=tcp:127.0.0.1:{}-{}:22", plan.ssh_port, plan.private_ip);
  std::string card = "virtio-net-pci,netdev=net,addr=0x5,romfile=";
  if (!plan.mac_address.empty()) card += ",mac=" + plan.mac_address;
  command.insert(command.end(), {"-netdev", network, "-device", card});
}

}  // namespace

std::string_view DiskBusName(DiskBus bus) {
  switch (bus) {
    case DiskBus::kNvme:
      return "nvme";
    case DiskBus::kVirtio:
      return "virtio";
    case DiskBus::kSata:
      return "sata";
  }
  return "";
}

std::optional<DiskBus> ParseDiskBus(std::string_view name) {
  for (const DiskBus bus : {DiskBus::kNvme, DiskBus::kVirtio, DiskBus::kSata}) {
    if (DiskBusName(bus) == name) return bus;
  }
  return std::nullopt;
}

std::size_t PortsOf(std::size_t data_disks) {
  return std::min(std::max(kPortsMin, data_disks + kPortsFree), kDisksMax - 1);
}

std::string NodeName(std::string_view volume_id) { return std::string(volume_id); }
std::string DeviceName(std::string_view volume_id) { return fmt::format("dev-{}", volume_id); }

text::Json BlockNodeOf(const GuestDisk& disk) {
  text::Json file = text::Json::MakeObject();
  file.Set("driver", "file").Set("node-name", NodeName(disk.volume_id) + "-file");
  file.Set("filename", disk.file).Set("discard", "unmap");
  text::Json node = text::Json::MakeObject();
  node.Set("driver", "qcow2").Set("node-name", NodeName(disk.volume_id));
  node.Set("file", std::move(file)).Set("discard", "unmap");
  return node;
}

text::Json DeviceOf(const GuestDisk& disk, DiskBus bus, std::size_t port) {
  text::Json device = text::Json::MakeObject();
  switch (bus) {
    case DiskBus::kNvme:
      device.Set("driver", "nvme").Set("bus", fmt::format("port{}", port));
      break;
    case DiskBus::kVirtio:
      device.Set("driver", "virtio-blk-pci").Set("bus", fmt::format("port{}", port));
      break;
    case DiskBus::kSata:
      device.Set("driver", "ide-hd").Set("bus", fmt::format("ide.{}", port + 1));
      break;
  }
  device.Set("id", DeviceName(disk.volume_id)).Set("drive", NodeName(disk.volume_id));
  device.Set("serial", SerialOf(disk.volume_id));
  return device;
}

std::string MacAddressOf(std::string_view instance_id) {
  const codec::Sha256Digest digest = codec::Sha256(AsBytes(instance_id));
  std::string address = "06";
  for (std::size_t i = 0; i < 5; ++i) {
    address += fmt::format(":{:02x}", std::to_integer<unsigned>(digest[i]));
  }
  return address;
}

std::vector<std::string> QemuCommand(const GuestPlan& plan) {
  std::vector<std::string> command = {
      "qemu-system-x86_64", "-name", plan.instance_id, "-nodefaults", "-no-user-config",
      "-display",           "none",  "-cpu",           "max"};
  if (plan.uefi) {
    command.insert(
        command.end(),
        {"-blockdev",
         fmt::format("driver=file,node-name=firmware,filename={},read-only=on", kUefiCode),
         "-blockdev",
         fmt::format("driver=file,node-name=variables,filename={}", plan.variables_file),
         "-machine", "q35,pflash0=firmware,pflash1=variables"});
  } else {
    command.insert(command.end(), {"-machine", "q35"});
  }
  // Both: a /dev/kvm that opens but does not work leaves the slow way.
  if (plan.kvm) command.insert(command.end(), {"-accel", "kvm"});
  command.insert(command.end(),
                 {"-accel", "tcg,thread=multi,tb-size=256", "-m", std::to_string(plan.memory_mib),
                  "-smp", std::to_string(plan.processors), "-rtc", "base=utc", "-sandbox",
                  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"});
  AddDisks(plan, command);
  command.insert(
      command.end(),
      {"-device", "VGA,addr=0x2", "-chardev",
       fmt::format("file,id=console,path={}/console,append=on", plan.instance_id), "-serial",
       "chardev:console", "-qmp", fmt::format("unix:{}/qmp,server=on,wait=off", plan.instance_id)});
  AddNetwork(plan, command);
  command.insert(command.end(), {"-device", "virtio-rng-pci,addr=0x6"});
  return command;
}

}  // namespace vmferry::region::vm
