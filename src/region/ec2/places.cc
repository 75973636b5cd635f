// SPDX-License-Identifier: Apache-2.0
//
// DescribeRegions, DescribeAvailabilityZones, and the default network as far as imports name it:
// DescribeSubnets, DescribeSecurityGroups.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using Values = std::optional<std::vector<std::string>>;

// "us-east-1a" is "use1-az1": first two letters, first of the direction, number.
std::string ZoneId(const Settings& settings) {
  const std::string& name = settings.region_name;
  const std::size_t dash = name.find('-');
  const std::size_t last = name.rfind('-');
  if (dash == name.npos || last == dash) return name + "-az1";
  return fmt::format("{}{}{}-az1", name.substr(0, 2), name.substr(dash + 1, 1),
                     name.substr(last + 1));
}

bool Listed(const QueryParameters& parameters, std::string_view name, std::string_view value) {
  const std::vector<std::string> list = parameters.List(name);
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

Result<void> DescribeRegions(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  const std::string& name = world.context.settings.region_name;
  const std::string endpoint = fmt::format("ec2.{}.amazonaws.com", name);
  if (!Listed(parameters, "RegionName", name)) {
    return Refuse("InvalidParameterValue", fmt::format("Invalid region names provided: {}",
                                                       parameters.List("RegionName").front()));
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                           Filters::Parse(parameters).Match({}, [&](std::string_view f) -> Values {
                             if (f == "region-name") return {{name}};
                             if (f == "endpoint") return {{endpoint}};
                             if (f == "opt-in-status") return {{"opt-in-not-required"}};
                             return std::nullopt;
                           }));
  reply.Open("regionInfo");
  if (matches) {
    reply.Open("item");
    reply.Element("regionName", name)
        .Element("regionEndpoint", endpoint)
        .Element("optInStatus", "opt-in-not-required")
        .Close();
  }
  reply.Close();
  return {};
}

Result<void> DescribeAvailabilityZones(World& world, const QueryParameters& parameters,
                                       text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  if (!Listed(parameters, "ZoneName", settings.zone) ||
      !Listed(parameters, "ZoneId", ZoneId(settings))) {
    return Refuse("InvalidParameterValue", "Invalid availability zones provided");
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                           Filters::Parse(parameters).Match({}, [&](std::string_view f) -> Values {
                             if (f == "zone-name") return {{settings.zone}};
                             if (f == "zone-id") return {{ZoneId(settings)}};
                             if (f == "region-name") return {{settings.region_name}};
                             if (f == "state") return {{"available"}};
                             if (f == "zone-type") return {{"availability-zone"}};
                             if (f == "opt-in-status") return {{"opt-in-not-required"}};
                             return std::nullopt;
                           }));
  reply.Open("availabilityZoneInfo");
  if (matches) {
    reply.Open("item");
    reply.Element("zoneName", settings.zone)
        .Element("zoneId", ZoneId(settings))
        .Element("zoneState", "available")
        .Element("regionName", settings.region_name)
        .Element("optInStatus", "opt-in-not-required")
        .Element("groupName", settings.region_name)
        .Element("networkBorderGroup", settings.region_name)
        .Element("zoneType", "availability-zone")
        .Empty("messageSet")
        .Close();
  }
  reply.Close();
  return {};
}

Result<void> DescribeSubnets(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string id = DefaultSubnet(settings);
  if (!Listed(parameters, "SubnetId", id)) {
    return Refuse("InvalidSubnetID.NotFound", fmt::format("The subnet ID '{}' does not exist",
                                                          parameters.List("SubnetId").front()));
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                           Filters::Parse(parameters).Match({}, [&](std::string_view f) -> Values {
                             if (f == "subnet-id") return {{id}};
                             if (f == "vpc-id") return {{DefaultVpc(settings)}};
                             if (f == "availability-zone") return {{settings.zone}};
                             if (f == "default-for-az") return {{"true"}};
                             if (f == "state") return {{"available"}};
                             return std::nullopt;
                           }));
  reply.Open("subnetSet");
  if (matches) {
    reply.Open("item");
    reply.Element("subnetId", id)
        .Element("state", "available")
        .Element("vpcId", DefaultVpc(settings))
        .Element("cidrBlock", "172.31.0.0/20")
        .Element("availableIpAddressCount", "4091")
        .Element("availabilityZone", settings.zone)
        .Element("availabilityZoneId", ZoneId(settings))
        .Element("defaultForAz", "true")
        .Element("mapPublicIpOnLaunch", "true")
        .Element("ownerId", settings.account_id)
        .Close();
  }
  reply.Close();
  return {};
}

Result<void> DescribeSecurityGroups(World& world, const QueryParameters& parameters,
                                    text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string id = DefaultGroup(settings);
  if (!Listed(parameters, "GroupId", id) || !Listed(parameters, "GroupName", "default")) {
    return Refuse("InvalidGroup.NotFound", "The security group does not exist");
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                           Filters::Parse(parameters).Match({}, [&](std::string_view f) -> Values {
                             if (f == "group-id") return {{id}};
                             if (f == "group-name") return {{"default"}};
                             if (f == "vpc-id") return {{DefaultVpc(settings)}};
                             if (f == "owner-id") return {{settings.account_id}};
                             return std::nullopt;
                           }));
  reply.Open("securityGroupInfo");
  if (matches) {
    reply.Open("item");
    reply.Element("ownerId", settings.account_id)
        .Element("groupId", id)
        .Element("groupName", "default")
        .Element("groupDescription", "default VPC security group")
        .Element("vpcId", DefaultVpc(settings))
        .Empty("ipPermissions")
        .Empty("ipPermissionsEgress")
        .Close();
  }
  reply.Close();
  return {};
}

constexpr std::array<std::string_view, 4> kRegionParameters = {"RegionName.N", "AllRegions",
                                                               "Filter.N.Name", "Filter.N.Value.N"};
constexpr std::array<std::string_view, 5> kZoneParameters = {
    "ZoneName.N", "ZoneId.N", "AllAvailabilityZones", "Filter.N.Name", "Filter.N.Value.N"};
constexpr std::array<std::string_view, 5> kSubnetParameters = {
    "SubnetId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 6> kGroupParameters = {
    "GroupId.N", "GroupName.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};

constexpr std::array kOperations = {
    Operation{"DescribeRegions", DescribeRegions, kRegionParameters},
    Operation{"DescribeAvailabilityZones", DescribeAvailabilityZones, kZoneParameters},
    Operation{"DescribeSubnets", DescribeSubnets, kSubnetParameters},
    Operation{"DescribeSecurityGroups", DescribeSecurityGroups, kGroupParameters},
};

}  // namespace

std::span<const Operation> PlaceOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
