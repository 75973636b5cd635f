// SPDX-License-Identifier: Apache-2.0
//
// Disks that come and go while an instance exists.
#include <fmt/format.h>

#include <algorithm>

#include "region/vm/instance_files.h"
#include "region/vm/instances.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::seconds;

Error WrongState(const Instance& instance) {
  return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
               fmt::format("the instance {} is {}", instance.id, StateName(instance.state)));
}

text::Json Named(std::string_view key, std::string value) {
  return text::Json::MakeObject().Set(key, std::move(value));
}

// Whether the guest has the device, also while it is asked to let go of it.
Result<bool> HasDevice(Qmp& qmp, std::string_view volume_id) {
  VMFERRY_ASSIGN_OR_RETURN(const text::Json devices,
                           qmp.Execute("qom-list", Named("path", "/machine/peripheral")));
  const std::string name = DeviceName(volume_id);
  return std::any_of(devices.Items().begin(), devices.Items().end(),
                     [&](const text::Json& device) { return device["name"].AsString() == name; });
}

// A port behind which there is nothing. Asked, not tried: an attempt at one that is taken makes the
// guest believe that its disk was pulled out.
std::optional<std::size_t> FreePort(Qmp& qmp) {
  const auto buses = qmp.Execute("query-pci");
  if (!buses || buses->Items().empty()) return std::nullopt;
  for (const text::Json& device : buses->Items()[0]["devices"].Items()) {
    const std::string name = device["qdev_id"].AsString();
    if (!name.starts_with("port") || !device["pci_bridge"]["devices"].Items().empty()) continue;
    if (const auto port = ParseUint(std::string_view(name).substr(4)); port) return *port;
  }
  return std::nullopt;
}

}  // namespace

Result<Volume> Instances::AttachVolume(std::string_view volume_id, std::string_view instance_id,
                                       std::string_view device) {
  const std::lock_guard lock(change_mutex_);
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(instance_id));
  const bool runs = instance.state == InstanceState::kRunning;
  if (!runs && instance.state != InstanceState::kStopped) return WrongState(instance);
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> others, disks_.VolumesOf(instance_id));
  const std::size_t most = options_.disk_bus == DiskBus::kSata ? kSataDisksMax : kDisksMax;
  if (others.size() >= most) {
    return Error(ErrorCode::kResourceExhausted, "region.too_many_disks",
                 fmt::format("the instance {} has {} volumes already", instance_id, others.size()));
  }
  VMFERRY_RETURN_IF_ERROR(disks_.Attach(volume_id, instance_id, device,
                                        /*delete_on_termination=*/false,
                                        runs ? AttachState::kAttaching : AttachState::kAttached));
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, disks_.FindVolume(volume_id));
  if (!runs) return volume;
  if (Result<void> plugged = PlugIn(instance, volume); !plugged) {
    disks_.ReleaseFrom(volume_id, VolumeUser::kInstance);
    static_cast<void>(disks_.Detach(volume_id));
    return plugged.error();
  }
  VMFERRY_RETURN_IF_ERROR(disks_.SetAttachState(volume_id, AttachState::kAttached));
  return volume;
}

Result<void> Instances::PlugIn(const Instance& instance, const Volume& volume) {
  if (options_.disk_bus == DiskBus::kSata) {
    return Error(ErrorCode::kUnimplemented, "region.no_hot_plug",
                 "disks on SATA can be attached to stopped instances only");
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool claimed, disks_.Claim(volume.id, VolumeUser::kInstance));
  if (!claimed) {
    return Error(ErrorCode::kFailedPrecondition, "region.volume_in_use",
                 fmt::format("the volume {} is being read or written", volume.id));
  }
  const GuestDisk disk{.volume_id = volume.id, .file = disks_.VolumeFile(volume.id)};
  VMFERRY_ASSIGN_OR_RETURN(Qmp qmp, Qmp::Connect(Folder(instance.id) / "qmp"));
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::Json opened,
                           qmp.Execute("blockdev-add", BlockNodeOf(disk)));
  Result<text::Json> added = Error(ErrorCode::kResourceExhausted, "region.too_many_disks",
                                   fmt::format("the instance {} has no free place", instance.id));
  if (const auto port = FreePort(qmp); port) {
    added = qmp.Execute("device_add", DeviceOf(disk, options_.disk_bus, *port));
    if (added) return {};
  }
  static_cast<void>(qmp.Execute("blockdev-del", Named("node-name", NodeName(volume.id))));
  return added.error();
}

Result<Volume> Instances::DetachVolume(std::string_view volume_id) {
  const std::lock_guard lock(change_mutex_);
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, disks_.FindVolume(volume_id));
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(volume.instance_id));
  if (instance.state == InstanceState::kStopped) {
    VMFERRY_RETURN_IF_ERROR(disks_.Detach(volume_id));
    return volume;
  }
  if (instance.state != InstanceState::kRunning) return WrongState(instance);
  if (volume.device == instance.root_device) {
    return Error(ErrorCode::kFailedPrecondition, "region.root_volume",
                 fmt::format("Unable to detach root volume '{}' from instance '{}'", volume.device,
                             instance.id));
  }
  if (options_.disk_bus == DiskBus::kSata) {
    return Error(ErrorCode::kUnimplemented, "region.no_hot_plug",
                 "disks on SATA can be detached from stopped instances only");
  }
  VMFERRY_RETURN_IF_ERROR(disks_.SetAttachState(volume_id, AttachState::kDetaching));
  Poke();
  return volume;
}

// Asks the guest again and again; a volume is free when its device is gone.
void Instances::KeepUnplugging(const Instance& instance, Guest& guest) {
  const auto volumes = disks_.VolumesOf(instance.id);
  const MonotonicTime now = context_.clock.MonotonicNow();
  if (!volumes) return;
  const bool ask = now >= guest.next_unplug;
  for (const Volume& volume : *volumes) {
    if (volume.attach_state != AttachState::kDetaching) continue;
    auto qmp = Qmp::Connect(Folder(instance.id) / "qmp", kQmpPatience);
    if (!qmp) return;
    const auto there = HasDevice(*qmp, volume.id);
    if (!there) return;
    if (*there) {
      if (!ask) continue;
      guest.next_unplug = now + seconds(5);
      static_cast<void>(qmp->Execute("device_del", Named("id", DeviceName(volume.id))));
      continue;
    }
    const auto closed = qmp->Execute("blockdev-del", Named("node-name", NodeName(volume.id)));
    if (!closed && closed.error().message().find("in use") != std::string::npos) continue;
    disks_.Release(volume.id);
    if (auto detached = disks_.Detach(volume.id); !detached) {
      context_.log.Warn("volume not detached",
                        {{"volume", volume.id}, {"error", detached.error().ToString()}});
    }
  }
}

// Takes the volumes of a guest that outlived the region. One that was being attached is attached if
// the guest has it: nobody was told so far.
Result<void> Instances::AdoptDisks(const Instance& instance) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, disks_.VolumesOf(instance.id));
  for (const Volume& volume : volumes) {
    bool there = true;
    if (volume.attach_state == AttachState::kAttaching) {
      auto qmp = Qmp::Connect(Folder(instance.id) / "qmp", kQmpPatience);
      there = qmp && HasDevice(*qmp, volume.id).value_or(false);
      if (!there && qmp) {
        static_cast<void>(qmp->Execute("blockdev-del", Named("node-name", NodeName(volume.id))));
      }
    }
    if (!there) {
      VMFERRY_RETURN_IF_ERROR(disks_.Detach(volume.id));
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const bool claimed,
                             disks_.Claim(volume.id, VolumeUser::kInstance));
    if (volume.attach_state == AttachState::kAttaching) {
      VMFERRY_RETURN_IF_ERROR(disks_.SetAttachState(volume.id, AttachState::kAttached));
    }
  }
  return {};
}

}  // namespace vmferry::region::vm
