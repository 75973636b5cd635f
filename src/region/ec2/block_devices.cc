// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/block_devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"

namespace vmferry::region::ec2 {
namespace {

// Source: EC2 API reference, CreateVolume.
struct VolumeKind {
  std::string_view name;
  std::uint64_t gib_min;
  std::uint64_t gib_max;
  std::uint64_t iops_max;  // 0: Iops is not taken
};
constexpr std::array kKinds = {
    VolumeKind{"gp2", 1, 16384, 0},     VolumeKind{"gp3", 1, 65536, 80000},
    VolumeKind{"io1", 4, 16384, 64000}, VolumeKind{"io2", 4, 65536, 256000},
    VolumeKind{"st1", 125, 16384, 0},   VolumeKind{"sc1", 125, 16384, 0},
    VolumeKind{"standard", 1, 1024, 0}};
// A qcow2 file takes more; what is larger is a mistake on one machine.
constexpr std::uint64_t kGibMax = 16384;

Error BadMapping(std::string message) {
  return Refuse("InvalidBlockDeviceMapping", std::move(message));
}

// Fills in what was not sent, and checks.
Result<vm::ImageDisk> Complete(World& world, vm::ImageDisk disk) {
  if (!disk.snapshot_id.empty()) {
    const auto snapshot = world.disks.FindSnapshot(disk.snapshot_id);
    if (!snapshot) {
      return Refuse("InvalidSnapshot.NotFound",
                    fmt::format("The snapshot '{}' does not exist.", disk.snapshot_id));
    }
    if (snapshot->state != vm::SnapshotState::kCompleted) {
      return Refuse("IncorrectState", fmt::format("Snapshot {} is in invalid state - {}",
                                                  snapshot->id, vm::StateName(snapshot->state)));
    }
    if (disk.size_gib == 0) disk.size_gib = snapshot->size_gib;
    if (disk.size_gib < snapshot->size_gib) {
      return BadMapping(
          fmt::format("Volume of size {}GB is smaller than snapshot '{}', expect "
                      "size >= {}GB",
                      disk.size_gib, snapshot->id, snapshot->size_gib));
    }
  } else if (disk.size_gib == 0) {
    return Refuse("MissingParameter",
                  fmt::format("The request must contain the parameter size or snapshotId for {}",
                              disk.device));
  }
  VMFERRY_RETURN_IF_ERROR(CheckVolume(disk.volume_type, disk.size_gib, disk.iops, disk.throughput));
  return disk;
}

void Apply(const BlockDevice& device, vm::ImageDisk& disk) {
  if (!device.snapshot_id.empty() && device.snapshot_id != disk.snapshot_id) {
    disk.snapshot_id = device.snapshot_id;
    disk.size_gib = 0;
  }
  if (device.size_gib) disk.size_gib = *device.size_gib;
  if (device.delete_on_termination) disk.delete_on_termination = *device.delete_on_termination;
  if (device.encrypted) disk.encrypted = *device.encrypted;
  if (!device.volume_type.empty() && device.volume_type != disk.volume_type) {
    disk.volume_type = device.volume_type;
    disk.iops = disk.throughput = 0;
  }
  if (device.iops > 0) disk.iops = device.iops;
  if (device.throughput > 0) disk.throughput = device.throughput;
}

}  // namespace

Result<void> CheckDeviceName(const std::string& device) {
  std::string_view name = device;
  if (name.starts_with("/dev/")) name.remove_prefix(5);
  const bool known = name.starts_with("sd") || name.starts_with("xvd") || name.starts_with("hd");
  const bool plain = name.size() >= 3 && name.size() <= 7 &&
                     name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == name.npos;
  if (known && plain) return {};
  return Refuse("InvalidParameterValue",
                fmt::format("Value ({0}) for parameter device is invalid. {0} is not a valid EBS "
                            "device name.",
                            device));
}

Result<std::vector<BlockDevice>> ReadBlockDevices(const QueryParameters& parameters) {
  std::vector<BlockDevice> devices;
  for (const std::uint64_t index : parameters.Indices("BlockDeviceMapping")) {
    const std::string at = fmt::format("BlockDeviceMapping.{}.", index);
    BlockDevice device;
    VMFERRY_ASSIGN_OR_RETURN(device.device, Required(parameters, at + "DeviceName"));
    VMFERRY_RETURN_IF_ERROR(CheckDeviceName(device.device));
    // An empty string takes the entry away; other values are tolerated by EC2 as well.
    device.no_device = parameters.Has(at + "NoDevice");
    device.snapshot_id = parameters.Get(at + "Ebs.SnapshotId");
    if (!device.snapshot_id.empty()) {
      VMFERRY_RETURN_IF_ERROR(CheckId(kSnapshotIds, device.snapshot_id));
    }
    if (parameters.Has(at + "Ebs.VolumeSize")) {
      VMFERRY_ASSIGN_OR_RETURN(device.size_gib, Number(parameters, at + "Ebs.VolumeSize", 0));
    }
    if (parameters.Has(at + "Ebs.DeleteOnTermination")) {
      VMFERRY_ASSIGN_OR_RETURN(device.delete_on_termination,
                               Flag(parameters, at + "Ebs.DeleteOnTermination"));
    }
    if (parameters.Has(at + "Ebs.Encrypted")) {
      VMFERRY_ASSIGN_OR_RETURN(device.encrypted, Flag(parameters, at + "Ebs.Encrypted"));
    }
    device.volume_type = parameters.Get(at + "Ebs.VolumeType");
    VMFERRY_ASSIGN_OR_RETURN(device.iops, Number(parameters, at + "Ebs.Iops", 0));
    VMFERRY_ASSIGN_OR_RETURN(device.throughput, Number(parameters, at + "Ebs.Throughput", 0));
    if (std::any_of(devices.begin(), devices.end(),
                    [&](const BlockDevice& other) { return other.device == device.device; })) {
      return BadMapping(fmt::format("Device {} occurs twice in the mapping", device.device));
    }
    devices.push_back(std::move(device));
    if (devices.size() > vm::kDisksMax) {
      return BadMapping(fmt::format("More than {} disks", vm::kDisksMax));
    }
  }
  return devices;
}

Result<vm::ImageDisk> DiskOf(World& world, const BlockDevice& device) {
  vm::ImageDisk disk{.device = device.device};
  Apply(device, disk);
  return Complete(world, std::move(disk));
}

Result<std::vector<vm::ImageDisk>> Override(World& world, std::vector<vm::ImageDisk> disks,
                                            const std::vector<BlockDevice>& devices) {
  for (const BlockDevice& device : devices) {
    const auto found = std::find_if(disks.begin(), disks.end(), [&](const vm::ImageDisk& disk) {
      return disk.device == device.device;
    });
    if (device.no_device) {
      if (found != disks.end()) disks.erase(found);
      continue;
    }
    if (found == disks.end()) {
      VMFERRY_ASSIGN_OR_RETURN(vm::ImageDisk disk, DiskOf(world, device));
      disks.push_back(std::move(disk));
      continue;
    }
    Apply(device, *found);
    VMFERRY_ASSIGN_OR_RETURN(*found, Complete(world, *found));
  }
  if (disks.size() > vm::kDisksMax) {
    return Refuse("AttachmentLimitExceeded",
                  fmt::format("An instance has at most {} disks", vm::kDisksMax));
  }
  return disks;
}

Result<void> CheckVolume(const std::string& type, std::uint64_t size_gib, std::uint64_t iops,
                         std::uint64_t throughput) {
  const auto* kind = std::find_if(kKinds.begin(), kKinds.end(),
                                  [&](const VolumeKind& each) { return each.name == type; });
  if (kind == kKinds.end()) {
    return Refuse("UnknownVolumeType", fmt::format("Unsupported volume type '{}' for volume "
                                                   "creation.",
                                                   type));
  }
  if (size_gib < kind->gib_min || size_gib > std::min(kind->gib_max, kGibMax)) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Volume of {}GiB is invalid; the size of a {} volume is between {} "
                              "and {} GiB.",
                              size_gib, type, kind->gib_min, std::min(kind->gib_max, kGibMax)));
  }
  if (iops > 0 && kind->iops_max == 0) {
    return Refuse("InvalidParameterCombination",
                  fmt::format("The parameter iops is not supported for {} volumes.", type));
  }
  if (iops > kind->iops_max && kind->iops_max > 0) {
    return Refuse(
        "InvalidParameterValue",
        fmt::format("Volume iops of {} is too high; maximum is {}.", iops, kind->iops_max));
  }
  if (iops == 0 && (type == "io1" || type == "io2")) {
    return Refuse("MissingParameter", "The request must contain the parameter iops");
  }
  if (throughput > 0 && type != "gp3") {
    return Refuse("InvalidParameterCombination",
                  fmt::format("The parameter throughput is not supported for {} volumes.", type));
  }
  return {};
}

std::uint64_t DefaultIops(const std::string& type, std::uint64_t size_gib) {
  if (type == "gp3") return 3000;
  if (type == "gp2") return std::clamp<std::uint64_t>(size_gib * 3, 100, 16000);
  return 0;
}

void WriteImageDisk(const vm::ImageDisk& disk, text::XmlWriter& reply) {
  reply.Element("deviceName", disk.device).Open("ebs");
  if (!disk.snapshot_id.empty()) reply.Element("snapshotId", disk.snapshot_id);
  reply.Element("volumeSize", std::to_string(disk.size_gib))
      .Element("deleteOnTermination", Word(disk.delete_on_termination))
      .Element("volumeType", disk.volume_type);
  if (disk.iops > 0) reply.Element("iops", std::to_string(disk.iops));
  if (disk.throughput > 0) reply.Element("throughput", std::to_string(disk.throughput));
  reply.Element("encrypted", Word(disk.encrypted)).Close();
}

}  // namespace vmferry::region::ec2
