// SPDX-License-Identifier: Apache-2.0
#include "aws/ec2/read.h"

#include "aws/core/error.h"
#include "aws/core/query.h"

namespace vmferry::aws::ec2 {
namespace {

ImportVolumeDetails ReadImportVolume(const text::XmlElement& item) {
  return {.bytes_converted = UintAt(item, "bytesConverted"),
          .zone = item.TextAt("availabilityZone"),
          .description = item.TextAt("description"),
          .status = item.TextAt("status"),
          .status_message = item.TextAt("statusMessage"),
          .image_format = item.TextAt("image/format"),
          .image_size_bytes = UintAt(item, "image/size"),
          .import_manifest_url = item.TextAt("image/importManifestUrl"),
          .volume_size_gib = UintAt(item, "volume/size"),
          .volume_id = item.TextAt("volume/id")};
}

}  // namespace

Tags ReadTags(const text::XmlElement& parent) {
  Tags tags;
  for (const auto* item : Items(parent, "tagSet"))
    tags[item->TextAt("key")] = item->TextAt("value");
  return tags;
}

Result<ConversionTask> ReadConversionTask(const text::XmlElement& item) {
  // The API reference's sample has the fields one level deeper than the model.
  if (const text::XmlElement* nested = item.Find("conversionTask"))
    return ReadConversionTask(*nested);
  ConversionTask task;
  task.id = item.TextAt("conversionTaskId");
  task.state = item.TextAt("state");
  if (task.id.empty()) return BadResponse("ConversionTask", "the task has no id");
  task.status_message = item.TextAt("statusMessage");
  task.expiration = item.TextAt("expirationTime");
  task.tags = ReadTags(item);
  if (const text::XmlElement* instance = item.Find("importInstance")) {
    task.instance_id = instance->TextAt("instanceId");
    task.platform = instance->TextAt("platform");
    task.description = instance->TextAt("description");
    for (const auto* volume : Items(*instance, "volumes")) {
      task.volumes.push_back(ReadImportVolume(*volume));
    }
  } else if (const text::XmlElement* volume = item.Find("importVolume")) {
    task.description = volume->TextAt("description");
    task.volumes.push_back(ReadImportVolume(*volume));
    task.volumes.back().status = task.state;  // this kind has none of its own
    task.volumes.back().status_message = task.status_message;
  }
  return task;
}

Instance ReadInstance(const text::XmlElement& item) {
  Instance instance;
  instance.id = item.TextAt("instanceId");
  instance.state_code = static_cast<int>(UintAt(item, "instanceState/code") & 0xff);
  instance.state = item.TextAt("instanceState/name");
  instance.state_reason = item.TextAt("stateReason/message");
  if (instance.state_reason.empty()) instance.state_reason = item.TextAt("reason");
  instance.type = item.TextAt("instanceType");
  instance.architecture = item.TextAt("architecture");
  instance.image_id = item.TextAt("imageId");
  instance.private_ip = item.TextAt("privateIpAddress");
  instance.public_ip = item.TextAt("ipAddress");
  instance.zone = item.TextAt("placement/availabilityZone");
  instance.subnet_id = item.TextAt("subnetId");
  instance.launch_time = item.TextAt("launchTime");
  instance.root_device = item.TextAt("rootDeviceName");
  for (const auto* device : Items(item, "blockDeviceMapping")) {
    instance.block_devices.push_back(
        {.device = device->TextAt("deviceName"), .volume_id = device->TextAt("ebs/volumeId")});
  }
  instance.tags = ReadTags(item);
  return instance;
}

InstanceStatus ReadInstanceStatus(const text::XmlElement& item) {
  return {.instance_id = item.TextAt("instanceId"),
          .instance_state = item.TextAt("instanceState/name"),
          .system = item.TextAt("systemStatus/status"),
          .instance = item.TextAt("instanceStatus/status")};
}

Volume ReadVolume(const text::XmlElement& item) {
  Volume volume;
  volume.id = item.TextAt("volumeId");
  volume.state = item.TextAt("status");
  volume.size_gib = UintAt(item, "size");
  volume.snapshot_id = item.TextAt("snapshotId");
  volume.zone = item.TextAt("availabilityZone");
  volume.type = item.TextAt("volumeType");
  volume.encrypted = BoolAt(item, "encrypted");
  for (const auto* attachment : Items(item, "attachmentSet")) {
    volume.attachments.push_back({.instance_id = attachment->TextAt("instanceId"),
                                  .device = attachment->TextAt("device"),
                                  .status = attachment->TextAt("status")});
  }
  volume.tags = ReadTags(item);
  return volume;
}

Snapshot ReadSnapshot(const text::XmlElement& item) {
  return {.id = item.TextAt("snapshotId"),
          .state = item.TextAt("status"),
          .status_message = item.TextAt("statusMessage"),
          .progress = item.TextAt("progress"),
          .volume_id = item.TextAt("volumeId"),
          .volume_size_gib = UintAt(item, "volumeSize"),
          .encrypted = BoolAt(item, "encrypted"),
          .kms_key_id = item.TextAt("kmsKeyId"),
          .description = item.TextAt("description"),
          .start_time = item.TextAt("startTime"),
          .owner_id = item.TextAt("ownerId"),
          .tags = ReadTags(item)};
}

}  // namespace vmferry::aws::ec2
