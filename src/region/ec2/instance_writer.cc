// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/instance_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/vm/qemu.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Instance;
using vm::InstanceState;

// "ip-172-31-4-5.ec2.internal"; other regions than us-east-1 have their name in it.
std::string PrivateDnsName(const Instance& instance, const Settings& settings) {
  if (instance.private_ip.empty()) return {};
  std::string address = instance.private_ip;
  std::replace(address.begin(), address.end(), '.', '-');
  return settings.region_name == "us-east-1"
             ? fmt::format("ip-{}.ec2.internal", address)
             : fmt::format("ip-{}.{}.compute.internal", address, settings.region_name);
}

// Ids of the network interface, which lives and dies with its instance.
std::string DerivedId(std::string_view prefix, const Instance& instance) {
  const codec::Sha256Digest digest =
      codec::Sha256(AsBytes(fmt::format("{}{}", prefix, instance.id)));
  return fmt::format("{}0{}", prefix, codec::HexEncode(std::span(digest).first(8)));
}

void WriteGroups(const Instance& instance, text::XmlWriter& reply) {
  reply.Open("groupSet").Open("item");
  reply.Element("groupId", instance.group_id).Element("groupName", "default").Close().Close();
}

void WriteInterface(const Instance& instance, const Settings& settings, text::XmlWriter& reply) {
  const std::string dns = PrivateDnsName(instance, settings);
  reply.Open("networkInterfaceSet").Open("item");
  reply.Element("networkInterfaceId", DerivedId("eni-", instance))
      .Element("subnetId", instance.subnet_id)
      .Element("vpcId", DefaultVpc(settings))
      .Element("description", "")
      .Element("ownerId", settings.account_id)
      .Element("status", "in-use")
      .Element("macAddress", vm::MacAddressOf(instance.id))
      .Element("privateIpAddress", instance.private_ip)
      .Element("privateDnsName", dns)
      .Element("sourceDestCheck", Word(instance.source_dest_check));
  WriteGroups(instance, reply);
  reply.Open("attachment")
      .Element("attachmentId", DerivedId("eni-attach-", instance))
      .Element("deviceIndex", "0")
      .Element("status", "attached")
      .Element("attachTime", Time(instance.launch_time))
      .Element("deleteOnTermination", "true")
      .Element("networkCardIndex", "0")
      .Close();
  reply.Open("privateIpAddressesSet").Open("item");
  reply.Element("privateIpAddress", instance.private_ip)
      .Element("privateDnsName", dns)
      .Element("primary", "true")
      .Close()
      .Close();
  reply.Empty("ipv6AddressesSet").Element("interfaceType", "interface").Close().Close();
}

void WritePlace(const Instance& instance, const Settings& settings, text::XmlWriter& reply) {
  reply.Open("placement")
      .Element("availabilityZone", instance.zone)
      .Element("groupName", "")
      .Element("tenancy", "default")
      .Close();
  const bool windows = http::EqualsIgnoreCase(instance.platform, "windows");
  if (windows) reply.Element("platform", "windows");
  reply.Element("platformDetails", windows ? "Windows" : "Linux/UNIX");
  reply.Element("usageOperation", windows ? "RunInstances:0002" : "RunInstances");
  reply.Open("monitoring").Element("state", "disabled").Close();
  if (instance.state == InstanceState::kTerminated) return;
  reply.Element("subnetId", instance.subnet_id)
      .Element("vpcId", DefaultVpc(settings))
      .Element("privateIpAddress", instance.private_ip)
      .Element("sourceDestCheck", Word(instance.source_dest_check));
  if (instance.ssh_port != 0) reply.Element("ipAddress", "127.0.0.1");
  WriteGroups(instance, reply);
  WriteInterface(instance, settings, reply);
}

void WriteInstance(const Instance& instance, const InstanceListing& listing,
                   const Settings& settings, text::XmlWriter& reply) {
  const bool terminated = instance.state == InstanceState::kTerminated;
  reply.Open("item");
  reply.Element("instanceId", instance.id).Element("imageId", instance.image_id);
  WriteInstanceState("instanceState", instance.state, reply);
  reply.Element("privateDnsName", terminated ? "" : PrivateDnsName(instance, settings))
      .Element("dnsName", "")
      .Element("reason", instance.reason_message);
  if (!instance.key_name.empty()) reply.Element("keyName", instance.key_name);
  reply.Element("amiLaunchIndex", std::to_string(instance.launch_index));
  reply.Empty("productCodes").Element("instanceType", instance.type);
  reply.Element("launchTime", Time(instance.launch_time));
  WritePlace(instance, settings, reply);
  if (!instance.reason_code.empty()) {
    reply.Open("stateReason")
        .Element("code", instance.reason_code)
        .Element("message", instance.reason_message)
        .Close();
  }
  reply.Element("architecture", instance.architecture)
      .Element("rootDeviceType", "ebs")
      .Element("rootDeviceName", instance.root_device);
  WriteBlockDevices(listing.VolumesOf(instance.id), reply);
  reply.Element("virtualizationType", "hvm").Element("clientToken", instance.client_token);
  WriteTags(listing.TagsOf(instance.id), reply);
  reply
      .Element("hypervisor", "xen")  // what EC2 reports for Nitro too
      .Element("ebsOptimized", Word(instance.ebs_optimized))
      .Element("enaSupport", Word(instance.ena_support));
  if (const std::string_view mode = vm::BootModeName(instance.boot_mode); !mode.empty()) {
    reply.Element("bootMode", mode);
  }
  reply.Element("currentInstanceBootMode", vm::BootModeName(vm::FirmwareOf(instance.boot_mode)));
  if (const auto type = vm::FindInstanceType(instance.type)) {
    reply.Open("cpuOptions")
        .Element("coreCount", std::to_string(type->processors))
        .Element("threadsPerCore", "1")
        .Close();
  }
  reply.Close();
}

}  // namespace

void WriteBlockDevices(const std::vector<vm::Volume>& volumes, text::XmlWriter& reply) {
  reply.Open("blockDeviceMapping");
  for (const vm::Volume& volume : volumes) {
    reply.Open("item").Element("deviceName", volume.device).Open("ebs");
    reply.Element("volumeId", volume.id)
        .Element("status", vm::StateName(volume.attach_state))
        .Element("attachTime", Time(volume.attach_time))
        .Element("deleteOnTermination", Word(volume.delete_on_termination));
    reply.Close().Close();
  }
  reply.Close();
}

const vm::TagMap& InstanceListing::TagsOf(std::string_view id) const {
  static const vm::TagMap none;
  const auto found = tags.find(id);
  return found == tags.end() ? none : found->second;
}

const std::vector<vm::Volume>& InstanceListing::VolumesOf(std::string_view id) const {
  static const std::vector<vm::Volume> none;
  const auto found = volumes.find(id);
  return found == volumes.end() ? none : found->second;
}

Result<InstanceListing> ListInstances(World& world) {
  InstanceListing listing;
  VMFERRY_ASSIGN_OR_RETURN(listing.instances, world.instances.List());
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Volume> volumes, world.disks.ListVolumes());
  for (const vm::Volume& volume : volumes) {
    if (!volume.instance_id.empty()) listing.volumes[volume.instance_id].push_back(volume);
  }
  for (auto& [id, attached] : listing.volumes) {
    std::stable_sort(attached.begin(), attached.end(),
                     [](const auto& a, const auto& b) { return a.position < b.position; });
  }
  listing.tags = world.disks.tags().OfAll("i-");
  for (const Instance& instance : listing.instances) {
    // Not AWS: where the guest's port 22 can be reached on this machine.
    if (instance.ssh_port == 0) continue;
    listing.tags[instance.id].insert_or_assign("vmferry:forward-22",
                                               fmt::format("127.0.0.1:{}", instance.ssh_port));
  }
  return listing;
}

std::optional<std::vector<std::string>> InstanceFilterValues(const Instance& instance,
                                                             const InstanceListing& listing,
                                                             const Settings& settings,
                                                             std::string_view name) {
  const auto one = [](std::string_view value) {
    return std::vector<std::string>{std::string(value)};
  };
  const auto if_any = [&](const std::string& value) {
    return value.empty() ? std::vector<std::string>() : one(value);
  };
  const auto of_volumes = [&](auto value) {
    std::vector<std::string> values;
    for (const vm::Volume& volume : listing.VolumesOf(instance.id)) {
      values.emplace_back(value(volume));
    }
    return values;
  };
  const bool windows = http::EqualsIgnoreCase(instance.platform, "windows");
  if (name == "instance-id") return one(instance.id);
  if (name == "instance-state-name") return one(vm::StateName(instance.state));
  if (name == "instance-state-code") return one(std::to_string(static_cast<int>(instance.state)));
  if (name == "instance-type") return one(instance.type);
  if (name == "image-id") return one(instance.image_id);
  if (name == "reservation-id") return one(instance.reservation_id);
  if (name == "owner-id") return one(settings.account_id);
  if (name == "architecture") return one(instance.architecture);
  if (name == "availability-zone") return one(instance.zone);
  if (name == "subnet-id" || name == "network-interface.subnet-id") return one(instance.subnet_id);
  if (name == "vpc-id" || name == "network-interface.vpc-id") return one(DefaultVpc(settings));
  if (name == "private-ip-address") return one(instance.private_ip);
  if (name == "private-dns-name") return one(PrivateDnsName(instance, settings));
  if (name == "ip-address") {
    return instance.ssh_port != 0 ? one("127.0.0.1") : std::vector<std::string>();
  }
  if (name == "instance.group-id" || name == "group-id") return one(instance.group_id);
  if (name == "instance.group-name" || name == "group-name") return one("default");
  if (name == "launch-time") return one(Time(instance.launch_time));
  if (name == "launch-index") return one(std::to_string(instance.launch_index));
  if (name == "root-device-name") return one(instance.root_device);
  if (name == "root-device-type") return one("ebs");
  if (name == "virtualization-type") return one("hvm");
  if (name == "hypervisor") return one("xen");
  if (name == "tenancy") return one("default");
  if (name == "monitoring-state") return one("disabled");
  if (name == "source-dest-check") return one(Word(instance.source_dest_check));
  if (name == "boot-mode") return if_any(std::string(vm::BootModeName(instance.boot_mode)));
  if (name == "current-instance-boot-mode") {
    return one(vm::BootModeName(vm::FirmwareOf(instance.boot_mode)));
  }
  if (name == "platform") return windows ? one("windows") : std::vector<std::string>();
  if (name == "platform-details") return one(windows ? "Windows" : "Linux/UNIX");
  if (name == "state-reason-code") return if_any(instance.reason_code);
  if (name == "state-reason-message" || name == "reason") return if_any(instance.reason_message);
  if (name == "client-token") return if_any(instance.client_token);
  if (name == "key-name") return if_any(instance.key_name);
  if (name == "block-device-mapping.volume-id") {
    return of_volumes([](const vm::Volume& volume) { return volume.id; });
  }
  if (name == "block-device-mapping.device-name") {
    return of_volumes([](const vm::Volume& volume) { return volume.device; });
  }
  if (name == "block-device-mapping.status") {
    return of_volumes([](const vm::Volume& volume) { return vm::StateName(volume.attach_state); });
  }
  if (name == "block-device-mapping.delete-on-termination") {
    return of_volumes([](const vm::Volume& volume) { return Word(volume.delete_on_termination); });
  }
  return std::nullopt;
}

void WriteInstanceState(std::string_view element, InstanceState state, text::XmlWriter& reply) {
  reply.Open(element)
      .Element("code", std::to_string(static_cast<int>(state)))
      .Element("name", vm::StateName(state))
      .Close();
}

void WriteReservation(std::string_view reservation, const std::vector<const Instance*>& instances,
                      const InstanceListing& listing, const Settings& settings,
                      text::XmlWriter& reply) {
  reply.Element("reservationId", reservation).Element("ownerId", settings.account_id);
  reply.Empty("groupSet").Open("instancesSet");
  for (const Instance* instance : instances) WriteInstance(*instance, listing, settings, reply);
  reply.Close();
}

}  // namespace vmferry::region::ec2
