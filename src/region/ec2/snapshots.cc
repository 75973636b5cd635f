// SPDX-License-Identifier: Apache-2.0
//
// CreateSnapshot, DescribeSnapshots, DeleteSnapshot.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Snapshot;
using vm::SnapshotState;

std::string Progress(const Snapshot& snapshot) {
  return fmt::format("{}%", snapshot.progress_percent);
}

std::optional<std::vector<std::string>> FilterValues(const Snapshot& snapshot,
                                                     const Settings& settings,
                                                     std::string_view name) {
  const auto one = [](std::string value) { return std::vector<std::string>{std::move(value)}; };
  if (name == "snapshot-id") return one(snapshot.id);
  if (name == "status") return one(std::string(vm::StateName(snapshot.state)));
  if (name == "progress") return one(Progress(snapshot));
  if (name == "volume-id") return one(snapshot.volume_id);
  if (name == "volume-size") return one(std::to_string(snapshot.size_gib));
  if (name == "description") return one(snapshot.description);
  if (name == "owner-id") return one(settings.account_id);
  if (name == "encrypted") return one(snapshot.encrypted ? "true" : "false");
  if (name == "storage-tier") return one("standard");
  if (name == "start-time") return one(Time(snapshot.start_time));
  return std::nullopt;
}

void WriteSnapshot(const Snapshot& snapshot, const vm::TagMap& tags, const Settings& settings,
                   text::XmlWriter& reply) {
  reply.Element("snapshotId", snapshot.id)
      .Element("volumeId", snapshot.volume_id)
      .Element("status", vm::StateName(snapshot.state));
  if (!snapshot.message.empty()) reply.Element("statusMessage", snapshot.message);
  reply.Element("startTime", Time(snapshot.start_time))
      .Element("progress", Progress(snapshot))
      .Element("ownerId", settings.account_id)
      .Element("volumeSize", std::to_string(snapshot.size_gib))
      .Element("description", snapshot.description)
      .Element("encrypted", snapshot.encrypted ? "true" : "false")
      .Element("storageTier", "standard");
  if (!snapshot.kms_key_id.empty()) reply.Element("kmsKeyId", snapshot.kms_key_id);
  if (snapshot.state == SnapshotState::kCompleted) {
    reply.Element("completionTime", Time(snapshot.completion_time));
    reply.Element("fullSnapshotSizeInBytes",
                  std::to_string(snapshot.written_blocks * vm::kEbsBlockBytes));
  }
  WriteTags(tags, reply);
}

Result<void> CreateSnapshot(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string volume, OneId(parameters, kVolumeIds));
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags, SpecifiedTags(parameters, "snapshot"));
  if (!world.disks.FindVolume(volume)) return NotFound(kVolumeIds, volume);
  VMFERRY_ASSIGN_OR_RETURN(const Snapshot snapshot,
                           world.disks.CreateSnapshot(volume, parameters.Get("Description"), tags));
  WriteSnapshot(snapshot, tags, world.context.settings, reply);
  return {};
}

// "self", an account number or "amazon": all snapshots here are the account's own.
bool OwnedBy(const std::vector<std::string>& owners, const Settings& settings) {
  return owners.empty() || std::any_of(owners.begin(), owners.end(), [&](const auto& owner) {
           return owner == "self" || owner == settings.account_id;
         });
}

Result<void> DescribeSnapshots(World& world, const QueryParameters& parameters,
                               text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Snapshot> snapshots, world.disks.ListSnapshots());
  auto tags = world.disks.tags().OfAll("snap-");
  std::set<std::string> wanted;
  for (const std::string& id : parameters.List("SnapshotId")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kSnapshotIds, id));
    if (std::none_of(snapshots.begin(), snapshots.end(),
                     [&](const Snapshot& snapshot) { return snapshot.id == id; })) {
      return Refuse("InvalidSnapshot.NotFound",
                    fmt::format("The snapshot '{}' does not exist.", id));
    }
    wanted.insert(id);
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  const bool owned = OwnedBy(parameters.List("Owner"), settings) &&
                     OwnedBy(parameters.List("RestorableBy"), settings);
  reply.Open("snapshotSet");
  for (const Snapshot& snapshot : snapshots) {
    if (!owned || (!wanted.empty() && !wanted.contains(snapshot.id))) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(tags[snapshot.id], [&](std::string_view name) {
                               return FilterValues(snapshot, settings, name);
                             }));
    if (!matches || !page.Take(snapshot.id)) continue;
    reply.Open("item");
    WriteSnapshot(snapshot, tags[snapshot.id], settings, reply);
    reply.Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

Result<void> DeleteSnapshot(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kSnapshotIds));
  if (!world.disks.FindSnapshot(id)) return NotFound(kSnapshotIds, id);
  VMFERRY_RETURN_IF_ERROR(world.disks.DeleteSnapshot(id));
  reply.Element("return", "true");
  return {};
}

constexpr std::array<std::string_view, 5> kCreateParameters = {
    "VolumeId", "Description", "TagSpecification.N.ResourceType", "TagSpecification.N.Tag.N.Key",
    "TagSpecification.N.Tag.N.Value"};
constexpr std::array<std::string_view, 7> kDescribeParameters = {
    "SnapshotId.N",     "Owner.N",    "RestorableBy.N", "Filter.N.Name",
    "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 1> kDeleteParameters = {"SnapshotId"};

constexpr std::array kOperations = {
    Operation{"CreateSnapshot", CreateSnapshot, kCreateParameters},
    Operation{"DescribeSnapshots", DescribeSnapshots, kDescribeParameters},
    Operation{"DeleteSnapshot", DeleteSnapshot, kDeleteParameters},
};

}  // namespace

std::span<const Operation> SnapshotOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
