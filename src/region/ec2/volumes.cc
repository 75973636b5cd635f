// SPDX-License-Identifier: Apache-2.0
//
// CreateVolume, DescribeVolumes, DeleteVolume.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "region/ec2/block_devices.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"
#include "region/vm/client_tokens.h"
#include "region/vm/ids.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Volume;

std::optional<std::vector<std::string>> FilterValues(const Volume& volume, std::string_view name) {
  const auto one = [](std::string value) { return std::vector<std::string>{std::move(value)}; };
  const bool attached = !volume.instance_id.empty();
  const auto when_attached = [&](std::string value) {
    return attached ? one(std::move(value)) : std::vector<std::string>();
  };
  if (name == "volume-id") return one(volume.id);
  if (name == "status") return one(std::string(vm::StateName(volume.state)));
  if (name == "size") return one(std::to_string(volume.size_gib));
  if (name == "snapshot-id") return one(volume.snapshot_id);
  if (name == "availability-zone") return one(volume.zone);
  if (name == "volume-type") return one(volume.volume_type);
  if (name == "encrypted") return one(std::string(Word(volume.encrypted)));
  if (name == "multi-attach-enabled" || name == "fast-restored") return one("false");
  if (name == "create-time") return one(Time(volume.create_time));
  if (name == "attachment.instance-id") return when_attached(volume.instance_id);
  if (name == "attachment.device") return when_attached(volume.device);
  if (name == "attachment.status")
    return when_attached(std::string(vm::StateName(volume.attach_state)));
  if (name == "attachment.attach-time") return when_attached(Time(volume.attach_time));
  if (name == "attachment.delete-on-termination") {
    return when_attached(volume.delete_on_termination ? "true" : "false");
  }
  return std::nullopt;
}

void WriteVolume(const Volume& volume, const vm::TagMap& tags, text::XmlWriter& reply) {
  reply.Element("volumeId", volume.id)
      .Element("size", std::to_string(volume.size_gib))
      .Element("snapshotId", volume.snapshot_id)
      .Element("availabilityZone", volume.zone)
      .Element("status", vm::StateName(volume.state))
      .Element("createTime", Time(volume.create_time));
  reply.Open("attachmentSet");
  if (!volume.instance_id.empty()) {
    reply.Open("item");
    reply.Element("volumeId", volume.id)
        .Element("instanceId", volume.instance_id)
        .Element("device", volume.device)
        .Element("status", vm::StateName(volume.attach_state))
        .Element("attachTime", Time(volume.attach_time))
        .Element("deleteOnTermination", Word(volume.delete_on_termination));
    reply.Close();
  }
  reply.Close();
  WriteTags(tags, reply);
  reply.Element("volumeType", volume.volume_type);
  const std::uint64_t iops =
      volume.iops > 0 ? volume.iops : DefaultIops(volume.volume_type, volume.size_gib);
  if (iops > 0) reply.Element("iops", std::to_string(iops));
  if (volume.volume_type == "gp3") {
    reply.Element("throughput", std::to_string(volume.throughput > 0 ? volume.throughput : 125));
  }
  reply.Element("encrypted", Word(volume.encrypted)).Element("multiAttachEnabled", "false");
}

Result<Volume> ReadVolume(World& world, const QueryParameters& parameters) {
  if (!parameters.Has("AvailabilityZoneId")) {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string zone,
                             Required(parameters, "AvailabilityZone"));
  } else if (parameters.Get("AvailabilityZoneId") != ZoneId(world.context.settings)) {
    return Refuse("InvalidZone.NotFound", fmt::format("The zone '{}' does not exist.",
                                                      parameters.Get("AvailabilityZoneId")));
  }
  VMFERRY_RETURN_IF_ERROR(CheckZone(parameters, "AvailabilityZone", world.context.settings));
  Volume volume{.zone = world.context.settings.zone};
  volume.snapshot_id = parameters.Get("SnapshotId");
  VMFERRY_ASSIGN_OR_RETURN(volume.size_gib, Number(parameters, "Size", 0));
  if (!volume.snapshot_id.empty()) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kSnapshotIds, volume.snapshot_id));
    const auto snapshot = world.disks.FindSnapshot(volume.snapshot_id);
    if (!snapshot) return NotFound(kSnapshotIds, volume.snapshot_id);
    if (snapshot->state != vm::SnapshotState::kCompleted) {
      return Refuse("IncorrectState", fmt::format("Snapshot {} is in invalid state - {}",
                                                  snapshot->id, vm::StateName(snapshot->state)));
    }
    if (!parameters.Has("Size")) volume.size_gib = snapshot->size_gib;
    if (volume.size_gib < snapshot->size_gib) {
      return Refuse("InvalidParameterValue",
                    fmt::format("The size of a volume can not be smaller than the size of its "
                                "snapshot: {} is {} GiB",
                                snapshot->id, snapshot->size_gib));
    }
  } else if (!parameters.Has("Size")) {
    return Refuse("MissingParameter", "The request must contain the parameter size/snapshot");
  }
  if (parameters.Has("VolumeType")) volume.volume_type = parameters.Get("VolumeType");
  VMFERRY_ASSIGN_OR_RETURN(volume.iops, Number(parameters, "Iops", 0));
  VMFERRY_ASSIGN_OR_RETURN(volume.throughput, Number(parameters, "Throughput", 0));
  VMFERRY_ASSIGN_OR_RETURN(volume.encrypted, Flag(parameters, "Encrypted"));
  VMFERRY_ASSIGN_OR_RETURN(const bool shared, Flag(parameters, "MultiAttachEnabled"));
  if (shared) {
    return Refuse("UnsupportedOperation", "Multi-attach is not modelled by this region");
  }
  VMFERRY_RETURN_IF_ERROR(
      CheckVolume(volume.volume_type, volume.size_gib, volume.iops, volume.throughput));
  return volume;
}

Result<void> CreateVolume(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(Volume volume, ReadVolume(world, parameters));
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags, SpecifiedTags(parameters, "volume"));
  VMFERRY_ASSIGN_OR_RETURN(const std::string token, ClientToken(parameters));
  const std::string meaning = TokenParameters(parameters);
  volume.id = vm::NewResourceId(world.context.random, "vol-");
  volume.state = vm::VolumeState::kAvailable;
  volume.create_time = std::chrono::duration_cast<std::chrono::seconds>(
                           world.context.clock.WallNow().time_since_epoch())
                           .count();
  VMFERRY_ASSIGN_OR_RETURN(
      const std::string id,
      world.context.database.WithTransaction([&](Transaction& transaction) -> Result<std::string> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::optional<std::string> earlier,
            vm::ClientTokens::FindIn(transaction, "CreateVolume", token, meaning));
        if (earlier) return *earlier;
        VMFERRY_ASSIGN_OR_RETURN(const Volume made,
                                 vm::Disks::CreateVolumeIn(transaction, volume, tags));
        VMFERRY_RETURN_IF_ERROR(
            vm::ClientTokens::RecordIn(transaction, "CreateVolume", token, meaning, made.id));
        return made.id;
      }));
  VMFERRY_ASSIGN_OR_RETURN(Volume made, world.disks.FindVolume(id));
  // What EC2 answers; by the next request it is there.
  if (made.state == vm::VolumeState::kAvailable) made.state = vm::VolumeState::kCreating;
  WriteVolume(made, world.disks.tags().Of(id), reply);
  return {};
}

Result<void> DescribeVolumes(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, world.disks.ListVolumes());
  auto tags = world.disks.tags().OfAll("vol-");
  VMFERRY_ASSIGN_OR_RETURN(const std::set<std::string> wanted,
                           ListedIds(parameters, kVolumeIds, [&](const std::string& id) {
                             return std::any_of(
                                 volumes.begin(), volumes.end(),
                                 [&](const Volume& volume) { return volume.id == id; });
                           }));
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("volumeSet");
  for (const Volume& volume : volumes) {
    if (!wanted.empty() && !wanted.contains(volume.id)) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(tags[volume.id], [&](std::string_view name) {
                               return FilterValues(volume, name);
                             }));
    if (!matches || !page.Take(volume.id)) continue;
    reply.Open("item");
    WriteVolume(volume, tags[volume.id], reply);
    reply.Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

Result<void> DeleteVolume(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kVolumeIds));
  if (!world.disks.FindVolume(id)) return NotFound(kVolumeIds, id);
  VMFERRY_RETURN_IF_ERROR(world.disks.DeleteVolume(id));
  reply.Element("return", "true");
  return {};
}

constexpr std::array<std::string_view, 5> kDescribeParameters = {
    "VolumeId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 13> kCreateParameters = {"AvailabilityZone",
                                                                "AvailabilityZoneId",
                                                                "Size",
                                                                "SnapshotId",
                                                                "VolumeType",
                                                                "Iops",
                                                                "Throughput",
                                                                "Encrypted",
                                                                "MultiAttachEnabled",
                                                                "ClientToken",
                                                                "TagSpecification.N.ResourceType",
                                                                "TagSpecification.N.Tag.N.Key",
                                                                "TagSpecification.N.Tag.N.Value"};
constexpr std::array<std::string_view, 1> kDeleteParameters = {"VolumeId"};

constexpr std::array kOperations = {
    Operation{"CreateVolume", CreateVolume, kCreateParameters},
    Operation{"DescribeVolumes", DescribeVolumes, kDescribeParameters},
    Operation{"DeleteVolume", DeleteVolume, kDeleteParameters},
};

}  // namespace

std::span<const Operation> VolumeOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
