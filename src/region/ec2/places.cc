// SPDX-License-Identifier: Apache-2.0
//
// DescribeRegions, DescribeAvailabilityZones, DescribeAccountAttributes.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using Values = std::optional<std::vector<std::string>>;

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

Result<void> DescribeAccountAttributes(World& world, const QueryParameters& parameters,
                                       text::XmlWriter& reply) {
  const std::array<std::pair<std::string_view, std::string>, 6> attributes = {{
      {"supported-platforms", "VPC"},
      {"default-vpc", DefaultVpc(world.context.settings)},
      {"max-instances", "20"},
      {"max-elastic-ips", "5"},
      {"vpc-max-elastic-ips", "5"},
      {"vpc-max-security-groups-per-interface", "5"},
  }};
  const std::vector<std::string> wanted = parameters.List("AttributeName");
  for (const std::string& name : wanted) {
    if (std::none_of(attributes.begin(), attributes.end(),
                     [&](const auto& attribute) { return attribute.first == name; })) {
      return Refuse("InvalidParameterValue",
                    fmt::format("Value ({}) for parameter attributeName is invalid.", name));
    }
  }
  reply.Open("accountAttributeSet");
  for (const auto& [name, value] : attributes) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    reply.Open("item").Element("attributeName", name);
    reply.Open("attributeValueSet").Open("item").Element("attributeValue", value).Close().Close();
    reply.Close();
  }
  reply.Close();
  return {};
}

constexpr std::array<std::string_view, 1> kAccountParameters = {"AttributeName.N"};
constexpr std::array<std::string_view, 4> kRegionParameters = {"RegionName.N", "AllRegions",
                                                               "Filter.N.Name", "Filter.N.Value.N"};
constexpr std::array<std::string_view, 5> kZoneParameters = {
    "ZoneName.N", "ZoneId.N", "AllAvailabilityZones", "Filter.N.Name", "Filter.N.Value.N"};
constexpr std::array kOperations = {
    Operation{"DescribeRegions", DescribeRegions, kRegionParameters},
    Operation{"DescribeAvailabilityZones", DescribeAvailabilityZones, kZoneParameters},
    Operation{"DescribeAccountAttributes", DescribeAccountAttributes, kAccountParameters},
};

}  // namespace

std::span<const Operation> PlaceOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
