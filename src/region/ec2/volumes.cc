// SPDX-License-Identifier: Apache-2.0
//
// DescribeVolumes, DeleteVolume.
#include <algorithm>
#include <array>
#include <set>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

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
  if (name == "volume-type") return one("gp2");
  if (name == "encrypted") return one("false");
  if (name == "create-time") return one(Time(volume.create_time));
  if (name == "attachment.instance-id") return when_attached(volume.instance_id);
  if (name == "attachment.device") return when_attached(volume.device);
  if (name == "attachment.status") return when_attached("attached");
  if (name == "attachment.delete-on-termination") {
    return when_attached(volume.delete_on_termination ? "true" : "false");
  }
  return std::nullopt;
}

void WriteVolume(const Volume& volume, const vm::TagMap& tags, text::XmlWriter& reply) {
  reply.Open("item");
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
        .Element("status", "attached")
        .Element("attachTime", Time(volume.attach_time))
        .Element("deleteOnTermination", volume.delete_on_termination ? "true" : "false");
    reply.Close();
  }
  reply.Close();
  WriteTags(tags, reply);
  reply.Element("volumeType", "gp2")
      .Element("encrypted", "false")
      .Element("multiAttachEnabled", "false")
      .Close();
}

Result<void> DescribeVolumes(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, world.disks.ListVolumes());
  auto tags = world.disks.tags().OfAll("vol-");
  std::set<std::string> wanted;
  for (const std::string& id : parameters.List("VolumeId")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kVolumeIds, id));
    if (std::none_of(volumes.begin(), volumes.end(),
                     [&](const Volume& volume) { return volume.id == id; })) {
      return NotFound(kVolumeIds, id);
    }
    wanted.insert(id);
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("volumeSet");
  for (const Volume& volume : volumes) {
    if (!wanted.empty() && !wanted.contains(volume.id)) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(tags[volume.id], [&](std::string_view name) {
                               return FilterValues(volume, name);
                             }));
    if (matches && page.Take(volume.id)) WriteVolume(volume, tags[volume.id], reply);
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
constexpr std::array<std::string_view, 1> kDeleteParameters = {"VolumeId"};

constexpr std::array kOperations = {
    Operation{"DescribeVolumes", DescribeVolumes, kDescribeParameters},
    Operation{"DeleteVolume", DeleteVolume, kDeleteParameters},
};

}  // namespace

std::span<const Operation> VolumeOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
