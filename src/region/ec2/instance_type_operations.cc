// SPDX-License-Identifier: Apache-2.0
//
// DescribeInstanceTypes, DescribeInstanceTypeOfferings.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"
#include "region/vm/instance_types.h"
#include "region/vm/qemu.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Hypervisor;
using vm::InstanceType;
using Values = std::optional<std::vector<std::string>>;

std::vector<std::string> One(std::string_view value) { return {std::string(value)}; }

std::vector<std::string> Architectures(const InstanceType& type) {
  return type.takes_i386 ? std::vector<std::string>{"i386", "x86_64"}
                         : std::vector<std::string>{"x86_64"};
}

std::vector<std::string> BootModes(const InstanceType& type) {
  return type.hypervisor == Hypervisor::kNitro ? std::vector<std::string>{"legacy-bios", "uefi"}
                                               : std::vector<std::string>{"legacy-bios"};
}

std::string_view HypervisorName(const InstanceType& type) {
  return type.hypervisor == Hypervisor::kNitro ? "nitro" : "xen";
}

std::string_view EnaSupport(const InstanceType& type) {
  return type.hypervisor == Hypervisor::kNitro ? "required" : "unsupported";
}

Values FilterValues(const InstanceType& type, std::string_view name) {
  if (name == "instance-type") return One(type.name);
  if (name == "current-generation") return One(Word(type.current_generation));
  if (name == "free-tier-eligible") return One(Word(type.free_tier));
  if (name == "burstable-performance-supported") return One(Word(type.burstable));
  if (name == "bare-metal" || name == "instance-storage-supported" ||
      name == "hibernation-supported") {
    return One("false");
  }
  if (name == "hypervisor") return One(HypervisorName(type));
  if (name == "processor-info.supported-architecture") return Architectures(type);
  if (name == "supported-boot-mode") return BootModes(type);
  if (name == "supported-virtualization-type") return One("hvm");
  if (name == "supported-root-device-type") return One("ebs");
  if (name == "supported-usage-class") return One("on-demand");
  if (name == "memory-info.size-in-mib") return One(std::to_string(type.memory_mib));
  if (name == "vcpu-info.default-vcpus" || name == "vcpu-info.default-cores") {
    return One(std::to_string(type.processors));
  }
  if (name == "network-info.ena-support") return One(EnaSupport(type));
  if (name == "ebs-info.nvme-support") {
    return One(type.hypervisor == Hypervisor::kNitro ? "required" : "unsupported");
  }
  if (name == "ebs-info.encryption-support") return One("supported");
  return std::nullopt;
}

void WriteList(std::string_view element, const std::vector<std::string>& items,
               text::XmlWriter& reply) {
  reply.Open(element);
  for (const std::string& item : items) reply.Element("item", item);
  reply.Close();
}

void WriteType(const InstanceType& type, text::XmlWriter& reply) {
  const std::string processors = std::to_string(type.processors);
  const bool nitro = type.hypervisor == Hypervisor::kNitro;
  reply.Open("item");
  reply.Element("instanceType", type.name)
      .Element("currentGeneration", Word(type.current_generation))
      .Element("freeTierEligible", Word(type.free_tier));
  WriteList("supportedUsageClasses", {"on-demand"}, reply);
  WriteList("supportedRootDeviceTypes", {"ebs"}, reply);
  WriteList("supportedVirtualizationTypes", {"hvm"}, reply);
  reply.Element("bareMetal", "false").Element("hypervisor", HypervisorName(type));
  reply.Open("processorInfo");
  WriteList("supportedArchitectures", Architectures(type), reply);
  reply.Close();
  reply.Open("vCpuInfo")
      .Element("defaultVCpus", processors)
      .Element("defaultCores", processors)
      .Element("defaultThreadsPerCore", "1")
      .Close();
  reply.Open("memoryInfo").Element("sizeInMiB", std::to_string(type.memory_mib)).Close();
  reply.Element("instanceStorageSupported", "false");
  reply.Open("ebsInfo")
      .Element("ebsOptimizedSupport", nitro ? "default" : "unsupported")
      .Element("encryptionSupport", "supported")
      .Element("nvmeSupport", nitro ? "required" : "unsupported")
      .Close();
  reply.Open("networkInfo")
      .Element("maximumNetworkInterfaces", "1")
      .Element("maximumNetworkCards", "1")
      .Element("ipv4AddressesPerInterface", "1")
      .Element("ipv6AddressesPerInterface", "0")
      .Element("ipv6Supported", "false")
      .Element("enaSupport", EnaSupport(type))
      .Element("efaSupported", "false")
      .Close();
  reply.Element("hibernationSupported", "false")
      .Element("burstablePerformanceSupported", Word(type.burstable))
      .Element("dedicatedHostsSupported", "false")
      .Element("autoRecoverySupported", "false");
  WriteList("supportedBootModes", BootModes(type), reply);
  reply.Close();
}

Result<void> DescribeInstanceTypes(World&, const QueryParameters& parameters,
                                   text::XmlWriter& reply) {
  const std::vector<std::string> wanted = parameters.List("InstanceType");
  for (const std::string& name : wanted) {
    if (vm::FindInstanceType(name)) continue;
    return Refuse("InvalidInstanceType",
                  fmt::format("The following supplied instance types do not exist: [{}]", name));
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("instanceTypeSet");
  for (const InstanceType& type : vm::InstanceTypes()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), type.name) == wanted.end()) {
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(const bool matches, filters.Match({}, [&](std::string_view name) {
      return FilterValues(type, name);
    }));
    if (matches && page.Take(type.name)) WriteType(type, reply);
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

Result<void> DescribeInstanceTypeOfferings(World& world, const QueryParameters& parameters,
                                           text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  const std::string kind =
      parameters.Has("LocationType") ? parameters.Get("LocationType") : "region";
  std::string location;
  if (kind == "region") location = settings.region_name;
  if (kind == "availability-zone") location = settings.zone;
  if (kind == "availability-zone-id") location = ZoneId(settings);
  if (location.empty()) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Value ({}) for parameter locationType is invalid.", kind));
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, /*with_ids=*/false));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("instanceTypeOfferingSet");
  for (const InstanceType& type : vm::InstanceTypes()) {
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match({}, [&](std::string_view name) -> Values {
                               if (name == "instance-type") return One(type.name);
                               if (name == "location") return One(location);
                               return std::nullopt;
                             }));
    if (!matches || !page.Take(type.name)) continue;
    reply.Open("item")
        .Element("instanceType", type.name)
        .Element("locationType", kind)
        .Element("location", location)
        .Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

constexpr std::array<std::string_view, 5> kTypeParameters = {
    "InstanceType.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array<std::string_view, 5> kOfferingParameters = {
    "LocationType", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};

constexpr std::array kOperations = {
    Operation{"DescribeInstanceTypes", DescribeInstanceTypes, kTypeParameters},
    Operation{"DescribeInstanceTypeOfferings", DescribeInstanceTypeOfferings, kOfferingParameters},
};

}  // namespace

std::span<const Operation> InstanceTypeOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
