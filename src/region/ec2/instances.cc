// SPDX-License-Identifier: Apache-2.0
//
// DescribeInstances, DescribeInstanceStatus, StartInstances, StopInstances, TerminateInstances,
// GetConsoleOutput.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"
#include "region/vm/qemu.h"

namespace vmferry::region::ec2 {
namespace {

using vm::CheckState;
using vm::Instance;
using vm::InstanceState;

// What several operations read at once.
struct Listing {
  std::vector<Instance> instances;  ///< by id
  std::vector<vm::Volume> volumes;
  std::map<std::string, vm::TagMap, std::less<>> tags;

  const vm::TagMap& TagsOf(std::string_view id) const {
    static const vm::TagMap none;
    const auto found = tags.find(id);
    return found == tags.end() ? none : found->second;
  }
};

Result<Listing> List(World& world) {
  Listing listing;
  VMFERRY_ASSIGN_OR_RETURN(listing.instances, world.instances.List());
  VMFERRY_ASSIGN_OR_RETURN(listing.volumes, world.disks.ListVolumes());
  listing.tags = world.disks.tags().OfAll("i-");
  for (const Instance& instance : listing.instances) {
    // Not AWS: where the guest's port 22 can be reached on this machine.
    if (instance.ssh_port == 0) continue;
    listing.tags[instance.id].insert_or_assign("vmferry:forward-22",
                                               fmt::format("127.0.0.1:{}", instance.ssh_port));
  }
  return listing;
}

// The ids asked for, each well-formed and existing; empty: all.
Result<std::set<std::string>> Wanted(const QueryParameters& parameters, const Listing& listing) {
  std::set<std::string> wanted;
  for (const std::string& id : parameters.List("InstanceId")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kInstanceIds, id));
    const bool known = std::any_of(listing.instances.begin(), listing.instances.end(),
                                   [&](const Instance& instance) { return instance.id == id; });
    if (!known) return NotFound(kInstanceIds, id);
    wanted.insert(id);
  }
  return wanted;
}

void WriteState(std::string_view element, InstanceState state, text::XmlWriter& reply) {
  reply.Open(element)
      .Element("code", std::to_string(static_cast<int>(state)))
      .Element("name", vm::StateName(state))
      .Close();
}

std::string CheckName(const Instance& instance) {
  if (instance.state != InstanceState::kRunning) return "not-applicable";
  switch (instance.check) {
    case CheckState::kInitializing:
      return "initializing";
    case CheckState::kPassed:
      return "ok";
    case CheckState::kImpaired:
      return "impaired";
  }
  return "insufficient-data";
}

std::string ReachabilityName(const Instance& instance) {
  switch (instance.check) {
    case CheckState::kInitializing:
      return "initializing";
    case CheckState::kPassed:
      return "passed";
    case CheckState::kImpaired:
      return "failed";
  }
  return "insufficient-data";
}

// Values of EC2's filter names for an instance. A name without value here is not modelled.
std::optional<std::vector<std::string>> FilterValues(const Instance& instance,
                                                     const Listing& listing,
                                                     const Settings& settings,
                                                     std::string_view name) {
  const auto one = [](std::string value) { return std::vector<std::string>{std::move(value)}; };
  if (name == "instance-id") return one(instance.id);
  if (name == "instance-state-name") return one(std::string(vm::StateName(instance.state)));
  if (name == "instance-state-code") return one(std::to_string(static_cast<int>(instance.state)));
  if (name == "instance-type") return one(instance.type);
  if (name == "image-id") return one(instance.image_id);
  if (name == "reservation-id") return one(instance.reservation_id);
  if (name == "owner-id") return one(settings.account_id);
  if (name == "architecture") return one(instance.architecture);
  if (name == "availability-zone") return one(instance.zone);
  if (name == "subnet-id") return one(instance.subnet_id);
  if (name == "vpc-id") return one(DefaultVpc(settings));
  if (name == "private-ip-address") return one(instance.private_ip);
  if (name == "instance.group-id") return one(instance.group_id);
  if (name == "launch-time") return one(Time(instance.launch_time));
  if (name == "root-device-name") return one("/dev/sda1");
  if (name == "root-device-type") return one("ebs");
  if (name == "platform") {
    return http::EqualsIgnoreCase(instance.platform, "windows") ? one("windows")
                                                                : std::vector<std::string>();
  }
  if (name == "client-token" || name == "key-name") return std::vector<std::string>();
  if (name == "block-device-mapping.volume-id") {
    std::vector<std::string> ids;
    for (const vm::Volume& volume : listing.volumes) {
      if (volume.instance_id == instance.id) ids.push_back(volume.id);
    }
    return ids;
  }
  return std::nullopt;
}

void WriteDisks(const Instance& instance, const Listing& listing, text::XmlWriter& reply) {
  reply.Open("blockDeviceMapping");
  for (const vm::Volume& volume : listing.volumes) {
    if (volume.instance_id != instance.id) continue;
    reply.Open("item").Element("deviceName", volume.device).Open("ebs");
    reply.Element("volumeId", volume.id)
        .Element("status", "attached")
        .Element("attachTime", Time(volume.attach_time))
        .Element("deleteOnTermination", volume.delete_on_termination ? "true" : "false");
    reply.Close().Close();
  }
  reply.Close();
}

void WriteInstance(const Instance& instance, const Listing& listing, const Settings& settings,
                   text::XmlWriter& reply) {
  const bool windows = http::EqualsIgnoreCase(instance.platform, "windows");
  reply.Open("item");
  reply.Element("instanceId", instance.id).Element("imageId", instance.image_id);
  WriteState("instanceState", instance.state, reply);
  reply.Element("privateDnsName", "").Element("dnsName", "");
  reply.Element("reason", instance.reason_message).Element("amiLaunchIndex", "0");
  reply.Element("instanceType", instance.type).Element("launchTime", Time(instance.launch_time));
  reply.Open("placement")
      .Element("availabilityZone", instance.zone)
      .Element("groupName", "")
      .Element("tenancy", "default")
      .Close();
  if (windows) reply.Element("platform", "windows");
  reply.Element("platformDetails", windows ? "Windows" : "Linux/UNIX");
  reply.Open("monitoring").Element("state", "disabled").Close();
  if (instance.state != InstanceState::kTerminated) {
    reply.Element("subnetId", instance.subnet_id)
        .Element("vpcId", DefaultVpc(settings))
        .Element("privateIpAddress", instance.private_ip);
    reply.Open("groupSet").Open("item");
    reply.Element("groupId", instance.group_id).Element("groupName", "default").Close().Close();
  }
  if (instance.ssh_port != 0) reply.Element("ipAddress", "127.0.0.1");
  if (!instance.reason_code.empty()) {
    reply.Open("stateReason")
        .Element("code", instance.reason_code)
        .Element("message", instance.reason_message)
        .Close();
  }
  reply.Element("architecture", instance.architecture)
      .Element("rootDeviceType", "ebs")
      .Element("rootDeviceName", "/dev/sda1");
  WriteDisks(instance, listing, reply);
  reply.Element("virtualizationType", "hvm").Element("clientToken", "");
  WriteTags(listing.TagsOf(instance.id), reply);
  reply
      .Element("hypervisor", "xen")  // what EC2 reports for Nitro too
      .Element("ebsOptimized", "false")
      .Element("enaSupport", "false")
      .Element("bootMode", "legacy-bios")
      .Element("currentInstanceBootMode", "legacy-bios");
  if (const auto type = vm::FindInstanceType(instance.type)) {
    reply.Open("cpuOptions")
        .Element("coreCount", std::to_string(type->processors))
        .Element("threadsPerCore", "1")
        .Close();
  }
  reply.Close();
}

Result<void> DescribeInstances(World& world, const QueryParameters& parameters,
                               text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  VMFERRY_ASSIGN_OR_RETURN(const Listing listing, List(world));
  VMFERRY_ASSIGN_OR_RETURN(const std::set<std::string> wanted, Wanted(parameters, listing));
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("reservationSet");
  for (const Instance& instance : listing.instances) {
    if (!wanted.empty() && !wanted.contains(instance.id)) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(listing.TagsOf(instance.id), [&](std::string_view name) {
                               return FilterValues(instance, listing, settings, name);
                             }));
    if (!matches || !page.Take(instance.id)) continue;
    reply.Open("item");
    reply.Element("reservationId", instance.reservation_id).Element("ownerId", settings.account_id);
    reply.Empty("groupSet").Open("instancesSet");
    WriteInstance(instance, listing, settings, reply);
    reply.Close().Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

void WriteStatus(std::string_view element, const Instance& instance, const std::string& status,
                 const std::string& reachability, text::XmlWriter& reply) {
  reply.Open(element).Element("status", status);
  if (instance.state == InstanceState::kRunning) {
    reply.Open("details").Open("item");
    reply.Element("name", "reachability").Element("status", reachability);
    if (status == "impaired") reply.Element("impairedSince", Time(instance.impaired_since));
    reply.Close().Close();
  }
  reply.Close();
}

Result<void> DescribeInstanceStatus(World& world, const QueryParameters& parameters,
                                    text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const Listing listing, List(world));
  VMFERRY_ASSIGN_OR_RETURN(const std::set<std::string> wanted, Wanted(parameters, listing));
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  VMFERRY_ASSIGN_OR_RETURN(const bool all, Flag(parameters, "IncludeAllInstances"));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("instanceStatusSet");
  for (const Instance& instance : listing.instances) {
    if (!wanted.empty() && !wanted.contains(instance.id)) continue;
    if (!all && instance.state != InstanceState::kRunning) continue;
    const auto values = [&](std::string_view name) -> std::optional<std::vector<std::string>> {
      if (name == "instance-status.status") return {{CheckName(instance)}};
      if (name == "instance-status.reachability") return {{ReachabilityName(instance)}};
      return FilterValues(instance, listing, world.context.settings, name);
    };
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(listing.TagsOf(instance.id), values));
    if (!matches || !page.Take(instance.id)) continue;
    reply.Open("item").Element("instanceId", instance.id);
    reply.Element("availabilityZone", instance.zone);
    WriteState("instanceState", instance.state, reply);
    // The host is up when QEMU runs; the guest's own check is the instance's.
    const std::string check = CheckName(instance);
    const bool comes_up = check == "initializing" || check == "not-applicable";
    WriteStatus("systemStatus", instance, comes_up ? check : "ok",
                comes_up ? "initializing" : "passed", reply);
    WriteStatus("instanceStatus", instance, check, ReachabilityName(instance), reply);
    reply.Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

// All ids are looked up before the first instance is changed.
Result<std::vector<std::string>> IdsToChange(World& world, const QueryParameters& parameters) {
  const std::vector<std::string> ids = parameters.List("InstanceId");
  if (ids.empty()) {
    return Refuse("MissingParameter", "The request must contain the parameter InstanceId");
  }
  for (const std::string& id : ids) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kInstanceIds, id));
    if (!world.instances.Find(id)) return NotFound(kInstanceIds, id);
  }
  return ids;
}

template <typename Change>
Result<void> ChangeAll(World& world, const QueryParameters& parameters, text::XmlWriter& reply,
                       Change change) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, IdsToChange(world, parameters));
  reply.Open("instancesSet");
  for (const std::string& id : ids) {
    const Result<vm::Instances::Change> changed = change(id);
    if (!changed) {
      if (changed.error().reason() != "region.wrong_state") return changed.error();
      return Refuse("IncorrectInstanceState",
                    fmt::format("The instance '{}' is not in a state from which it can be "
                                "changed so: {}",
                                id, changed.error().message()));
    }
    reply.Open("item").Element("instanceId", id);
    WriteState("currentState", changed->current, reply);
    WriteState("previousState", changed->previous, reply);
    reply.Close();
  }
  reply.Close();
  return {};
}

Result<void> StartInstances(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  return ChangeAll(world, parameters, reply,
                   [&](const std::string& id) { return world.instances.StartInstance(id); });
}

Result<void> StopInstances(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const bool force, Flag(parameters, "Force"));
  return ChangeAll(world, parameters, reply,
                   [&](const std::string& id) { return world.instances.StopInstance(id, force); });
}

Result<void> TerminateInstances(World& world, const QueryParameters& parameters,
                                text::XmlWriter& reply) {
  return ChangeAll(world, parameters, reply,
                   [&](const std::string& id) { return world.instances.TerminateInstance(id); });
}

Result<void> GetConsoleOutput(World& world, const QueryParameters& parameters,
                              text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kInstanceIds));
  if (!world.instances.Find(id)) return NotFound(kInstanceIds, id);
  VMFERRY_ASSIGN_OR_RETURN(const std::string output, world.instances.ConsoleOutput(id));
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
      world.context.clock.WallNow().time_since_epoch());
  reply.Element("instanceId", id).Element("timestamp", Time(now.count()));
  reply.Element("output", codec::Base64Encode(AsBytes(output)));
  return {};
}

constexpr std::array<std::string_view, 5> kDescribeParameters = {
    "InstanceId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 6> kStatusParameters = {
    "InstanceId.N", "Filter.N.Name", "Filter.N.Value.N",
    "MaxResults",   "NextToken",     "IncludeAllInstances"};
constexpr std::array<std::string_view, 2> kStartParameters = {"InstanceId.N", "AdditionalInfo"};
constexpr std::array<std::string_view, 2> kStopParameters = {"InstanceId.N", "Force"};
constexpr std::array<std::string_view, 3> kTerminateParameters = {"InstanceId.N", "Force",
                                                                  "SkipOsShutdown"};
constexpr std::array<std::string_view, 2> kConsoleParameters = {"InstanceId", "Latest"};

constexpr std::array kOperations = {
    Operation{"DescribeInstances", DescribeInstances, kDescribeParameters},
    Operation{"DescribeInstanceStatus", DescribeInstanceStatus, kStatusParameters},
    Operation{"StartInstances", StartInstances, kStartParameters},
    Operation{"StopInstances", StopInstances, kStopParameters},
    Operation{"TerminateInstances", TerminateInstances, kTerminateParameters},
    Operation{"GetConsoleOutput", GetConsoleOutput, kConsoleParameters},
};

}  // namespace

std::span<const Operation> InstanceOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
