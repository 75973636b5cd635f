// SPDX-License-Identifier: Apache-2.0
//
// The default network, which is all there is: DescribeVpcs, DescribeSubnets,
// DescribeSecurityGroups, DescribeAddresses.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using Values = std::optional<std::vector<std::string>>;

constexpr std::string_view kVpcBlock = "172.31.0.0/16";
constexpr std::string_view kSubnetBlock = "172.31.0.0/20";
constexpr std::uint64_t kSubnetAddresses = 4091;

std::vector<std::string> One(std::string_view value) { return {std::string(value)}; }

// Of the one resource there is: whether a request asks for it.
Result<bool> Asked(World& world, const QueryParameters& parameters, std::string_view list,
                   const std::string& id, std::string_view not_found, std::string_view noun,
                   const Filters::Values& values) {
  const std::vector<std::string> ids = parameters.List(list);
  for (const std::string& each : ids) {
    if (each == id) continue;
    return Refuse(not_found, fmt::format("The {} '{}' does not exist", noun, each));
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !ids.empty()));
  VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                           Filters::Parse(parameters).Match(world.disks.tags().Of(id), values));
  return matches && page.Take(id);
}

Result<void> DescribeVpcs(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string id = DefaultVpc(settings);
  VMFERRY_ASSIGN_OR_RETURN(const bool asked,
                           Asked(world, parameters, "VpcId", id, "InvalidVpcID.NotFound", "vpc ID",
                                 [&](std::string_view f) -> Values {
                                   if (f == "vpc-id") return One(id);
                                   if (f == "is-default" || f == "isDefault") return One("true");
                                   if (f == "state") return One("available");
                                   if (f == "owner-id") return One(settings.account_id);
                                   if (f == "cidr" || f == "cidr-block-association.cidr-block") {
                                     return One(kVpcBlock);
                                   }
                                   return std::nullopt;
                                 }));
  reply.Open("vpcSet");
  if (asked) {
    reply.Open("item");
    reply.Element("vpcId", id)
        .Element("ownerId", settings.account_id)
        .Element("state", "available")
        .Element("cidrBlock", kVpcBlock);
    reply.Open("cidrBlockAssociationSet").Open("item");
    reply.Element("cidrBlock", kVpcBlock)
        .Element("associationId", "vpc-cidr-assoc-" + id.substr(4));
    reply.Open("cidrBlockState").Element("state", "associated").Close().Close().Close();
    reply.Element("dhcpOptionsId", "dopt-" + id.substr(4)).Element("instanceTenancy", "default");
    reply.Element("isDefault", "true");
    WriteTags(world.disks.tags().Of(id), reply);
    reply.Close();
  }
  reply.Close();
  return {};
}

Result<std::uint64_t> FreeAddresses(World& world) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Instance> instances, world.instances.List());
  const auto used = std::count_if(instances.begin(), instances.end(), [](const auto& instance) {
    return instance.state != vm::InstanceState::kTerminated;
  });
  return kSubnetAddresses - std::min(kSubnetAddresses, static_cast<std::uint64_t>(used));
}

Result<void> DescribeSubnets(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string id = DefaultSubnet(settings);
  VMFERRY_ASSIGN_OR_RETURN(const bool asked,
                           Asked(world, parameters, "SubnetId", id, "InvalidSubnetID.NotFound",
                                 "subnet ID", [&](std::string_view f) -> Values {
                                   if (f == "subnet-id") return One(id);
                                   if (f == "subnet-arn") return One(Arn(settings, "subnet", id));
                                   if (f == "vpc-id") return One(DefaultVpc(settings));
                                   if (f == "availability-zone" || f == "availabilityZone")
                                     return One(settings.zone);
                                   if (f == "availability-zone-id") return One(ZoneId(settings));
                                   if (f == "default-for-az" || f == "defaultForAz")
                                     return One("true");
                                   if (f == "map-public-ip-on-launch") return One("true");
                                   if (f == "cidr-block" || f == "cidr" || f == "cidrBlock")
                                     return One(kSubnetBlock);
                                   if (f == "state") return One("available");
                                   if (f == "owner-id") return One(settings.account_id);
                                   return std::nullopt;
                                 }));
  reply.Open("subnetSet");
  if (asked) {
    VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t addresses, FreeAddresses(world));
    reply.Open("item");
    reply.Element("subnetId", id)
        .Element("subnetArn", Arn(settings, "subnet", id))
        .Element("state", "available")
        .Element("vpcId", DefaultVpc(settings))
        .Element("cidrBlock", kSubnetBlock)
        .Element("availableIpAddressCount", std::to_string(addresses))
        .Element("availabilityZone", settings.zone)
        .Element("availabilityZoneId", ZoneId(settings))
        .Element("defaultForAz", "true")
        .Element("mapPublicIpOnLaunch", "true")
        .Element("assignIpv6AddressOnCreation", "false")
        .Empty("ipv6CidrBlockAssociationSet")
        .Element("ownerId", settings.account_id);
    WriteTags(world.disks.tags().Of(id), reply);
    reply.Close();
  }
  reply.Close();
  return {};
}

Result<void> DescribeSecurityGroups(World& world, const QueryParameters& parameters,
                                    text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string id = DefaultGroup(settings);
  VMFERRY_RETURN_IF_ERROR(CheckNetwork("", {}, parameters.List("GroupName"), settings));
  VMFERRY_ASSIGN_OR_RETURN(const bool asked,
                           Asked(world, parameters, "GroupId", id, "InvalidGroup.NotFound",
                                 "security group", [&](std::string_view f) -> Values {
                                   if (f == "group-id") return One(id);
                                   if (f == "group-name") return One("default");
                                   if (f == "description") return One("default VPC security group");
                                   if (f == "vpc-id") return One(DefaultVpc(settings));
                                   if (f == "owner-id") return One(settings.account_id);
                                   return std::nullopt;
                                 }));
  reply.Open("securityGroupInfo");
  if (asked) {
    reply.Open("item");
    reply.Element("ownerId", settings.account_id)
        .Element("groupId", id)
        .Element("groupName", "default")
        .Element("groupDescription", "default VPC security group")
        .Element("vpcId", DefaultVpc(settings));
    // As EC2 makes the default group. The region forwards port 22 from this machine besides.
    reply.Open("ipPermissions").Open("item").Element("ipProtocol", "-1");
    reply.Open("groups").Open("item").Element("userId", settings.account_id).Element("groupId", id);
    reply.Close().Close().Close().Close();
    reply.Open("ipPermissionsEgress").Open("item").Element("ipProtocol", "-1");
    reply.Open("ipRanges").Open("item").Element("cidrIp", "0.0.0.0/0");
    reply.Close().Close().Close().Close();
    WriteTags(world.disks.tags().Of(id), reply);
    reply.Close();
  }
  reply.Close();
  return {};
}

// There are no elastic addresses; clients ask for them when they list instances.
Result<void> DescribeAddresses(World&, const QueryParameters& parameters, text::XmlWriter& reply) {
  for (const auto& [list, code] : {std::pair("PublicIp", "InvalidAddress.NotFound"),
                                   std::pair("AllocationId", "InvalidAllocationID.NotFound")}) {
    const std::vector<std::string> asked = parameters.List(list);
    if (!asked.empty()) {
      return Refuse(code, fmt::format("The address '{}' does not exist", asked.front()));
    }
  }
  reply.Empty("addressesSet");
  return {};
}

constexpr std::array<std::string_view, 5> kVpcParameters = {
    "VpcId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 5> kSubnetParameters = {
    "SubnetId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 6> kGroupParameters = {
    "GroupId.N", "GroupName.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 4> kAddressParameters = {
    "PublicIp.N", "AllocationId.N", "Filter.N.Name", "Filter.N.Value.N"};

constexpr std::array kOperations = {
    Operation{"DescribeVpcs", DescribeVpcs, kVpcParameters},
    Operation{"DescribeSubnets", DescribeSubnets, kSubnetParameters},
    Operation{"DescribeSecurityGroups", DescribeSecurityGroups, kGroupParameters},
    Operation{"DescribeAddresses", DescribeAddresses, kAddressParameters},
};

}  // namespace

std::span<const Operation> NetworkOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
