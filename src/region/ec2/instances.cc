// SPDX-License-Identifier: Apache-2.0
//
// DescribeInstances, DescribeInstanceStatus, StartInstances, StopInstances, RebootInstances,
// TerminateInstances.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "region/ec2/filters.h"
#include "region/ec2/instance_writer.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using vm::CheckState;
using vm::Instance;
using vm::InstanceState;

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

Result<std::set<std::string>> Wanted(const QueryParameters& parameters,
                                     const InstanceListing& listing) {
  return ListedIds(parameters, kInstanceIds, [&](const std::string& id) {
    return std::binary_search(listing.instances.begin(), listing.instances.end(), id, ById{});
  });
}

// One reservation is one item, with those of its instances that are on this page.
void WriteReservations(const std::vector<const Instance*>& instances,
                       const InstanceListing& listing, const Settings& settings,
                       text::XmlWriter& reply) {
  std::vector<std::string_view> order;
  std::map<std::string_view, std::vector<const Instance*>> reservations;
  for (const Instance* instance : instances) {
    auto& members = reservations[instance->reservation_id];
    if (members.empty()) order.push_back(instance->reservation_id);
    members.push_back(instance);
  }
  for (const std::string_view reservation : order) {
    reply.Open("item");
    WriteReservation(reservation, reservations[reservation], listing, settings, reply);
    reply.Close();
  }
}

Result<void> DescribeInstances(World& world, const QueryParameters& parameters,
                               text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  VMFERRY_ASSIGN_OR_RETURN(const InstanceListing listing, ListInstances(world));
  VMFERRY_ASSIGN_OR_RETURN(const std::set<std::string> wanted, Wanted(parameters, listing));
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  std::vector<const Instance*> shown;
  for (const Instance& instance : listing.instances) {
    if (!wanted.empty() && !wanted.contains(instance.id)) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(listing.TagsOf(instance.id), [&](std::string_view name) {
                               return InstanceFilterValues(instance, listing, settings, name);
                             }));
    if (matches && page.Take(instance.id)) shown.push_back(&instance);
  }
  reply.Open("reservationSet");
  WriteReservations(shown, listing, settings, reply);
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
  VMFERRY_ASSIGN_OR_RETURN(const InstanceListing listing, ListInstances(world));
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
      return InstanceFilterValues(instance, listing, world.context.settings, name);
    };
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(listing.TagsOf(instance.id), values));
    if (!matches || !page.Take(instance.id)) continue;
    reply.Open("item").Element("instanceId", instance.id);
    reply.Element("availabilityZone", instance.zone);
    WriteInstanceState("instanceState", instance.state, reply);
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
    WriteInstanceState("currentState", changed->current, reply);
    WriteInstanceState("previousState", changed->previous, reply);
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

// Refused before the first one is changed.
Result<void> CheckProtection(World& world, const QueryParameters& parameters,
                             bool Instance::*protection, std::string_view verb,
                             std::string_view attribute) {
  for (const std::string& id : parameters.List("InstanceId")) {
    const auto instance = world.instances.Find(id);
    if (!instance || !((*instance).*protection)) continue;
    return Refuse("OperationNotPermitted",
                  fmt::format("The instance '{}' may not be {}. Modify its '{}' instance attribute "
                              "and try again.",
                              id, verb, attribute));
  }
  return {};
}

Result<void> StopInstances(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const bool force, Flag(parameters, "Force"));
  VMFERRY_RETURN_IF_ERROR(
      CheckProtection(world, parameters, &Instance::disable_api_stop, "stopped", "disableApiStop"));
  return ChangeAll(world, parameters, reply,
                   [&](const std::string& id) { return world.instances.StopInstance(id, force); });
}

Result<void> TerminateInstances(World& world, const QueryParameters& parameters,
                                text::XmlWriter& reply) {
  VMFERRY_RETURN_IF_ERROR(CheckProtection(world, parameters, &Instance::disable_api_termination,
                                          "terminated", "disableApiTermination"));
  return ChangeAll(world, parameters, reply,
                   [&](const std::string& id) { return world.instances.TerminateInstance(id); });
}

Result<void> RebootInstances(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, IdsToChange(world, parameters));
  for (const std::string& id : ids) {
    const Result<void> asked = world.instances.RebootInstance(id);
    if (asked) continue;
    if (asked.error().reason() != "region.wrong_state") return asked.error();
    return Refuse("IncorrectInstanceState",
                  fmt::format("The instance '{}' is not in the 'running' state.", id));
  }
  reply.Element("return", "true");
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
constexpr std::array<std::string_view, 1> kRebootParameters = {"InstanceId.N"};

constexpr std::array kOperations = {
    Operation{"DescribeInstances", DescribeInstances, kDescribeParameters},
    Operation{"DescribeInstanceStatus", DescribeInstanceStatus, kStatusParameters},
    Operation{"StartInstances", StartInstances, kStartParameters},
    Operation{"StopInstances", StopInstances, kStopParameters},
    Operation{"TerminateInstances", TerminateInstances, kTerminateParameters},
    Operation{"RebootInstances", RebootInstances, kRebootParameters},
};

}  // namespace

std::span<const Operation> InstanceOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
