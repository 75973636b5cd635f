// SPDX-License-Identifier: Apache-2.0
#include "aws/ec2/client.h"

#include <fmt/format.h>

#include "aws/core/error.h"
#include "aws/ec2/read.h"
#include "base/byte_reader.h"
#include "codec/text_codec.h"

namespace vmferry::aws::ec2 {
namespace {

constexpr std::string_view kVersion = "2016-11-15";
// Pages of one listing; 1,000 items each, so this is a server that never ends.
constexpr int kPagesMax = 10'000;
constexpr std::uint32_t kPageItems = 1000;

Query MakeQuery(std::string_view action) { return Query(action, kVersion); }

void AddFilters(Query& query, std::span<const Filter> filters) {
  for (std::size_t i = 0; i < filters.size(); ++i) {
    const std::string prefix = fmt::format("Filter.{}.", i + 1);
    query.Add(prefix + "Name", filters[i].name);
    query.AddList(prefix + "Value", filters[i].values);
  }
}

void AddTags(Query& query, const std::string& prefix, const Tags& tags) {
  std::size_t number = 0;
  for (const auto& [key, value] : tags) {
    ++number;
    query.Add(fmt::format("{}Tag.{}.Key", prefix, number), key);
    query.Add(fmt::format("{}Tag.{}.Value", prefix, number), value);
  }
}

// Ids and page sizes exclude each other; ids need no pages.
Query MakeSelection(std::string_view action, std::string_view id_name, const Selection& selection) {
  Query query = MakeQuery(action);
  query.AddList(id_name, selection.ids);
  AddFilters(query, selection.filters);
  if (selection.ids.empty()) query.Add("MaxResults", kPageItems);
  return query;
}

void AddDisk(Query& query, std::size_t number, const ImportDisk& disk) {
  const std::string prefix = fmt::format("DiskImage.{}.", number);
  query.Add(prefix + "Image.Format", disk.format);
  query.Add(prefix + "Image.Bytes", disk.image_size_bytes);
  query.Add(prefix + "Image.ImportManifestUrl", disk.import_manifest_url);
  query.Add(prefix + "Volume.Size", disk.volume_size_gib);
  query.AddOptional(prefix + "Description", disk.description);
}

}  // namespace

Result<text::XmlElement> Client::Call(const Query& query, Effect effect, const OpContext& context) {
  return CallQuery(caller_, Service::kEc2, query, effect == Effect::kIdempotent, context);
}

Result<void> Client::CallPages(const Query& query, const Visit& visit, const OpContext& context) {
  std::string token;
  for (int page = 0; page < kPagesMax; ++page) {
    Query next = query;
    next.AddOptional("NextToken", token);
    VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, Call(next, Effect::kIdempotent, context));
    visit(root);
    token = root.TextAt("nextToken");
    if (token.empty()) return {};
  }
  return BadResponse(query.action(), fmt::format("it has more than {} pages", kPagesMax));
}

Result<ConversionTask> Client::ImportInstance(const ImportInstanceRequest& request,
                                              const OpContext& context) {
  Query query = MakeQuery("ImportInstance");
  query.Add("Platform", request.platform);
  query.AddOptional("Description", request.description);
  query.Add("LaunchSpecification.Architecture", request.architecture);
  query.Add("LaunchSpecification.InstanceType", request.instance_type);
  query.AddList("LaunchSpecification.GroupId", request.group_ids);
  query.AddList("LaunchSpecification.GroupName", request.group_names);
  query.AddOptional("LaunchSpecification.SubnetId", request.subnet_id);
  query.AddOptional("LaunchSpecification.PrivateIpAddress", request.private_ip);
  query.AddOptional("LaunchSpecification.Placement.AvailabilityZone", request.zone);
  query.AddOptional("LaunchSpecification.InstanceInitiatedShutdownBehavior",
                    request.shutdown_behavior);
  if (request.monitoring) query.AddBool("LaunchSpecification.Monitoring", true);
  for (std::size_t i = 0; i < request.disks.size(); ++i) AddDisk(query, i + 1, request.disks[i]);
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root,
                           Call(query, Effect::kNotIdempotent, context));
  const text::XmlElement* task = root.Find("conversionTask");
  if (task == nullptr) return BadResponse("ImportInstance", "it names no task");
  return ReadConversionTask(*task);
}

Result<std::vector<ConversionTask>> Client::DescribeConversionTasks(
    std::span<const std::string> ids, const OpContext& context) {
  Query query = MakeQuery("DescribeConversionTasks");
  query.AddList("ConversionTaskId", ids);
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, Call(query, Effect::kIdempotent, context));
  std::vector<ConversionTask> tasks;
  for (const auto* item : Items(root, "conversionTasks")) {
    VMFERRY_ASSIGN_OR_RETURN(ConversionTask task, ReadConversionTask(*item));
    tasks.push_back(std::move(task));
  }
  return tasks;
}

Result<void> Client::CancelConversionTask(const std::string& id, const std::string& reason,
                                          const OpContext& context) {
  Query query = MakeQuery("CancelConversionTask");
  query.Add("ConversionTaskId", id).AddOptional("ReasonMessage", reason);
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::XmlElement root,
                           Call(query, Effect::kIdempotent, context));
  return {};
}

Result<std::vector<Instance>> Client::DescribeInstances(const Selection& selection,
                                                        const OpContext& context) {
  std::vector<Instance> instances;
  const auto visit = [&](const text::XmlElement& root) {
    for (const auto* reservation : Items(root, "reservationSet")) {
      for (const auto* item : Items(*reservation, "instancesSet")) {
        instances.push_back(ReadInstance(*item));
      }
    }
  };
  VMFERRY_RETURN_IF_ERROR(
      CallPages(MakeSelection("DescribeInstances", "InstanceId", selection), visit, context));
  return instances;
}

Result<std::vector<InstanceStatus>> Client::DescribeInstanceStatus(std::span<const std::string> ids,
                                                                   const OpContext& context) {
  Query query = MakeQuery("DescribeInstanceStatus");
  query.AddList("InstanceId", ids).AddBool("IncludeAllInstances", true);
  std::vector<InstanceStatus> statuses;
  const auto visit = [&](const text::XmlElement& root) {
    for (const auto* item : Items(root, "instanceStatusSet")) {
      statuses.push_back(ReadInstanceStatus(*item));
    }
  };
  VMFERRY_RETURN_IF_ERROR(CallPages(query, visit, context));
  return statuses;
}

Result<std::vector<InstanceStateChange>> Client::ChangeState(std::string_view action,
                                                             std::span<const std::string> ids,
                                                             const OpContext& context) {
  Query query = MakeQuery(action);
  query.AddList("InstanceId", ids);
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, Call(query, Effect::kIdempotent, context));
  std::vector<InstanceStateChange> changes;
  for (const auto* item : Items(root, "instancesSet")) {
    changes.push_back({.id = item->TextAt("instanceId"),
                       .previous = item->TextAt("previousState/name"),
                       .current = item->TextAt("currentState/name")});
  }
  return changes;
}

Result<std::vector<InstanceStateChange>> Client::StartInstances(std::span<const std::string> ids,
                                                                const OpContext& context) {
  return ChangeState("StartInstances", ids, context);
}

Result<std::vector<InstanceStateChange>> Client::StopInstances(std::span<const std::string> ids,
                                                               const OpContext& context) {
  return ChangeState("StopInstances", ids, context);
}

Result<std::vector<InstanceStateChange>> Client::TerminateInstances(
    std::span<const std::string> ids, const OpContext& context) {
  return ChangeState("TerminateInstances", ids, context);
}

Result<ConsoleOutput> Client::GetConsoleOutput(const std::string& instance_id, bool latest,
                                               const OpContext& context) {
  Query query = MakeQuery("GetConsoleOutput");
  query.Add("InstanceId", instance_id);
  if (latest) query.AddBool("Latest", true);
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, Call(query, Effect::kIdempotent, context));
  // Base64 may be broken into lines.
  std::string encoded = root.TextAt("output");
  std::erase_if(encoded, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  const auto decoded = codec::Base64Decode(encoded);
  if (!decoded) return BadResponse("GetConsoleOutput", "the output is not base64");
  return ConsoleOutput{.instance_id = root.TextAt("instanceId"),
                       .timestamp = root.TextAt("timestamp"),
                       .output = std::string(AsText(*decoded))};
}

Result<std::vector<Volume>> Client::DescribeVolumes(const Selection& selection,
                                                    const OpContext& context) {
  std::vector<Volume> volumes;
  const auto visit = [&](const text::XmlElement& root) {
    for (const auto* item : Items(root, "volumeSet")) volumes.push_back(ReadVolume(*item));
  };
  VMFERRY_RETURN_IF_ERROR(
      CallPages(MakeSelection("DescribeVolumes", "VolumeId", selection), visit, context));
  return volumes;
}

Result<void> Client::DeleteVolume(const std::string& id, const OpContext& context) {
  Query query = MakeQuery("DeleteVolume");
  query.Add("VolumeId", id);
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::XmlElement root,
                           Call(query, Effect::kIdempotent, context));
  return {};
}

Result<Snapshot> Client::CreateSnapshot(const std::string& volume_id,
                                        const std::string& description, const Tags& tags,
                                        const OpContext& context) {
  Query query = MakeQuery("CreateSnapshot");
  query.Add("VolumeId", volume_id).AddOptional("Description", description);
  if (!tags.empty()) {
    query.Add("TagSpecification.1.ResourceType", "snapshot");
    AddTags(query, "TagSpecification.1.", tags);
  }
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root,
                           Call(query, Effect::kNotIdempotent, context));
  Snapshot snapshot = ReadSnapshot(root);
  if (snapshot.id.empty()) return BadResponse("CreateSnapshot", "it names no snapshot");
  return snapshot;
}

Result<std::vector<Snapshot>> Client::DescribeSnapshots(const Selection& selection,
                                                        const OpContext& context) {
  Query query = MakeSelection("DescribeSnapshots", "SnapshotId", selection);
  if (selection.ids.empty()) query.Add("Owner.1", "self");
  std::vector<Snapshot> snapshots;
  const auto visit = [&](const text::XmlElement& root) {
    for (const auto* item : Items(root, "snapshotSet")) snapshots.push_back(ReadSnapshot(*item));
  };
  VMFERRY_RETURN_IF_ERROR(CallPages(query, visit, context));
  return snapshots;
}

Result<void> Client::DeleteSnapshot(const std::string& id, const OpContext& context) {
  Query query = MakeQuery("DeleteSnapshot");
  query.Add("SnapshotId", id);
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::XmlElement root,
                           Call(query, Effect::kIdempotent, context));
  return {};
}

Result<void> Client::CreateTags(std::span<const std::string> ids, const Tags& tags,
                                const OpContext& context) {
  Query query = MakeQuery("CreateTags");
  query.AddList("ResourceId", ids);
  AddTags(query, "", tags);
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::XmlElement root,
                           Call(query, Effect::kIdempotent, context));
  return {};
}

Result<std::vector<Region>> Client::DescribeRegions(const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root,
                           Call(MakeQuery("DescribeRegions"), Effect::kIdempotent, context));
  std::vector<Region> regions;
  for (const auto* item : Items(root, "regionInfo")) {
    regions.push_back({.name = item->TextAt("regionName"),
                       .endpoint = item->TextAt("regionEndpoint"),
                       .opt_in_status = item->TextAt("optInStatus")});
  }
  return regions;
}

Result<std::vector<AvailabilityZone>> Client::DescribeAvailabilityZones(const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, Call(MakeQuery("DescribeAvailabilityZones"),
                                                             Effect::kIdempotent, context));
  std::vector<AvailabilityZone> zones;
  for (const auto* item : Items(root, "availabilityZoneInfo")) {
    zones.push_back({.name = item->TextAt("zoneName"),
                     .id = item->TextAt("zoneId"),
                     .state = item->TextAt("zoneState"),
                     .region = item->TextAt("regionName")});
  }
  return zones;
}

}  // namespace vmferry::aws::ec2
