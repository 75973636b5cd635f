// SPDX-License-Identifier: Apache-2.0
//
// AttachVolume, DetachVolume.
#include <fmt/format.h>

#include <array>

#include "region/ec2/block_devices.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Volume;
using vm::VolumeState;

void WriteAttachment(const Volume& volume, vm::AttachState state, text::XmlWriter& reply) {
  reply.Element("volumeId", volume.id)
      .Element("instanceId", volume.instance_id)
      .Element("device", volume.device)
      .Element("status", vm::StateName(state))
      .Element("attachTime", Time(volume.attach_time))
      .Element("deleteOnTermination", Word(volume.delete_on_termination));
}

// The instance's part of a refusal, in EC2's words.
Error Translated(const Error& error, const std::string& instance_id) {
  if (error.reason() != "region.wrong_state") return error;
  return Refuse("IncorrectState", fmt::format("Instance '{}' is not 'running'.", instance_id));
}

Result<void> AttachVolume(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string volume_id, OneId(parameters, kVolumeIds));
  VMFERRY_ASSIGN_OR_RETURN(const std::string instance_id, OneId(parameters, kInstanceIds));
  VMFERRY_ASSIGN_OR_RETURN(const std::string device, Required(parameters, "Device"));
  VMFERRY_RETURN_IF_ERROR(CheckDeviceName(device));
  const auto volume = world.disks.FindVolume(volume_id);
  if (!volume) return NotFound(kVolumeIds, volume_id);
  const auto instance = world.instances.Find(instance_id);
  if (!instance) return NotFound(kInstanceIds, instance_id);
  if (volume->state == VolumeState::kInUse) {
    return Refuse("VolumeInUse", fmt::format("{} is already attached to an instance", volume_id));
  }
  if (volume->state != VolumeState::kAvailable) {
    return Refuse("IncorrectState", fmt::format("Volume '{}' is in the '{}' state.", volume_id,
                                                vm::StateName(volume->state)));
  }
  if (volume->zone != instance->zone) {
    return Refuse("InvalidVolume.ZoneMismatch",
                  fmt::format("The volume '{}' is not in the same availability zone as instance "
                              "'{}'",
                              volume_id, instance_id));
  }
  const auto attached = world.instances.AttachVolume(volume_id, instance_id, device);
  if (!attached) return Translated(attached.error(), instance_id);
  WriteAttachment(*attached, vm::AttachState::kAttaching, reply);
  return {};
}

Result<void> DetachVolume(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string volume_id, OneId(parameters, kVolumeIds));
  const auto volume = world.disks.FindVolume(volume_id);
  if (!volume) return NotFound(kVolumeIds, volume_id);
  if (volume->state != VolumeState::kInUse) {
    return Refuse("IncorrectState", fmt::format("Volume '{}' is in the '{}' state.", volume_id,
                                                vm::StateName(volume->state)));
  }
  const std::string instance_id = parameters.Get("InstanceId");
  const std::string device = parameters.Get("Device");
  if ((!instance_id.empty() && instance_id != volume->instance_id) ||
      (!device.empty() && device != volume->device)) {
    return Refuse("InvalidAttachment.NotFound",
                  fmt::format("The volume '{}' is not attached to instance '{}' as device '{}'.",
                              volume_id, instance_id.empty() ? volume->instance_id : instance_id,
                              device.empty() ? volume->device : device));
  }
  const auto detached = world.instances.DetachVolume(volume_id);
  if (!detached) return Translated(detached.error(), volume->instance_id);
  WriteAttachment(*detached, vm::AttachState::kDetaching, reply);
  return {};
}

constexpr std::array<std::string_view, 3> kAttachParameters = {"VolumeId", "InstanceId", "Device"};
// Force has no effect: QEMU takes no device away that the guest holds.
constexpr std::array<std::string_view, 4> kDetachParameters = {"VolumeId", "InstanceId", "Device",
                                                               "Force"};

constexpr std::array kOperations = {
    Operation{"AttachVolume", AttachVolume, kAttachParameters},
    Operation{"DetachVolume", DetachVolume, kDetachParameters},
};

}  // namespace

std::span<const Operation> AttachmentOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
