// SPDX-License-Identifier: Apache-2.0
//
// RunInstances.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/units.h"
#include "codec/text_codec.h"
#include "region/ec2/block_devices.h"
#include "region/ec2/filters.h"
#include "region/ec2/instance_writer.h"
#include "region/ec2/operation.h"
#include "region/vm/ids.h"
#include "region/vm/key_pairs.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::uint64_t kCountMax = 1000;
constexpr std::size_t kUserDataMax = 16 * kKiB;  // before base64

// Whether EC2 would start the image on the type: its own refusals, in its own words as far as
// known.
Result<void> CheckFits(const vm::MachineImage& image, const vm::InstanceType& type) {
  const bool nitro = type.hypervisor == vm::Hypervisor::kNitro;
  if (image.architecture != "x86_64" && !(image.architecture == "i386" && type.takes_i386)) {
    return Refuse(
        "InvalidParameterValue",
        fmt::format("The architecture 'x86_64' of the specified instance type does not match the "
                    "architecture '{}' of the specified AMI. Specify an instance type and an AMI "
                    "that have matching architectures, and try again.",
                    image.architecture));
  }
  if (image.boot_mode == vm::BootMode::kUefi && !nitro) {
    return Refuse("InvalidParameterValue",
                  fmt::format("The instance type '{}' does not support an AMI with boot mode UEFI",
                              type.name));
  }
  if (nitro && !image.ena_support) {
    return Refuse("InvalidParameterCombination",
                  fmt::format("Enhanced networking with the Elastic Network Adapter (ENA) is "
                              "required for the '{}' instance type. Ensure that you are using an "
                              "AMI that is enabled for ENA.",
                              type.name));
  }
  return {};
}

// Addresses of the default subnet that EC2 gives out: not its first four, nor its last.
bool InDefaultSubnet(std::string_view address) {
  std::array<std::uint64_t, 4> bytes = {};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::size_t dot = i + 1 < bytes.size() ? address.find('.') : address.size();
    if (dot == address.npos) return false;
    const auto byte = ParseUint(address.substr(0, dot));
    if (!byte || *byte > 255 || dot > 3) return false;
    bytes[i] = *byte;
    address.remove_prefix(std::min(dot + 1, address.size()));
  }
  const std::uint64_t host = bytes[2] * 256 + bytes[3];
  return bytes[0] == 172 && bytes[1] == 31 && host >= 4 && host < 16 * 256 - 1;
}

Result<void> ReadNetwork(const QueryParameters& parameters, const Settings& settings,
                         vm::LaunchRequest& request) {
  const auto interfaces = parameters.Indices("NetworkInterface");
  std::string subnet = parameters.Get("SubnetId");
  std::vector<std::string> groups = parameters.List("SecurityGroupId");
  request.private_ip = parameters.Get("PrivateIpAddress");
  if (!interfaces.empty()) {
    if (interfaces.size() > 1 ||
        parameters.Get(fmt::format("NetworkInterface.{}.DeviceIndex", interfaces[0])) != "0") {
      return Refuse("UnsupportedOperation", "Instances of this region have one network interface");
    }
    if (!subnet.empty() || !groups.empty() || !request.private_ip.empty()) {
      return Refuse("InvalidParameterCombination",
                    "Network interfaces and an instance-level subnet, security groups or private "
                    "address may not be specified on the same request");
    }
    const std::string at = fmt::format("NetworkInterface.{}.", interfaces[0]);
    subnet = parameters.Get(at + "SubnetId");
    groups = parameters.List(at + "SecurityGroupId");
    request.private_ip = parameters.Get(at + "PrivateIpAddress");
  }
  VMFERRY_RETURN_IF_ERROR(CheckNetwork(subnet, groups, parameters.List("SecurityGroup"), settings));
  if (!request.private_ip.empty() && !InDefaultSubnet(request.private_ip)) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Address {} does not fall within the subnet's address range",
                              request.private_ip));
  }
  request.instance.subnet_id = DefaultSubnet(settings);
  request.instance.group_id = DefaultGroup(settings);
  VMFERRY_RETURN_IF_ERROR(CheckZone(parameters, "Placement.AvailabilityZone", settings));
  request.instance.zone = settings.zone;
  if (const std::string tenancy = parameters.Get("Placement.Tenancy");
      !tenancy.empty() && tenancy != "default") {
    return Refuse("UnsupportedOperation",
                  fmt::format("The tenancy '{}' is not modelled by this region", tenancy));
  }
  return {};
}

Result<void> ReadCount(const QueryParameters& parameters, vm::LaunchRequest& request) {
  for (const char* name : {"MinCount", "MaxCount"}) {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string given, Required(parameters, name));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t least, Number(parameters, "MinCount", 1));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t most, Number(parameters, "MaxCount", 1));
  if (least == 0 || most < least || most > kCountMax) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Values ({}, {}) for parameters minCount and maxCount are invalid.",
                              least, most));
  }
  if (most > 1 && !request.private_ip.empty()) {
    return Refuse("InvalidParameterCombination", "A private address is that of a single instance");
  }
  request.count_min = static_cast<std::uint32_t>(least);
  request.count = static_cast<std::uint32_t>(most);
  return {};
}

Result<void> ReadKeyAndData(World& world, const QueryParameters& parameters,
                            vm::LaunchRequest& request) {
  request.instance.key_name = parameters.Get("KeyName");
  if (!request.instance.key_name.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::KeyPair> keys,
                             vm::KeyPairs::List(world.context.database));
    if (std::none_of(keys.begin(), keys.end(), [&](const vm::KeyPair& key) {
          return key.name == request.instance.key_name;
        })) {
      return Refuse("InvalidKeyPair.NotFound",
                    fmt::format("The key pair '{}' does not exist", request.instance.key_name));
    }
  }
  request.user_data = parameters.Get("UserData");
  const auto decoded = codec::Base64Decode(request.user_data);
  if (!decoded) return Refuse("InvalidParameterValue", "Invalid BASE64 encoding of user data.");
  if (decoded->size() > kUserDataMax) {
    return Refuse("InvalidParameterValue", "User data is limited to 16384 bytes");
  }
  return {};
}

Result<vm::LaunchRequest> ReadLaunch(World& world, const QueryParameters& parameters) {
  vm::LaunchRequest request;
  vm::Instance& instance = request.instance;
  VMFERRY_ASSIGN_OR_RETURN(const std::string image_id, OneId(parameters, kImageIds));
  const auto image = world.images.Find(image_id);
  if (!image) return NotFound(kImageIds, image_id);
  if (image->state != vm::ImageState::kAvailable) {
    return Refuse("InvalidAMIID.Unavailable",
                  fmt::format("The image {} is {}", image_id, vm::StateName(image->state)));
  }
  instance.type = parameters.Has("InstanceType") ? parameters.Get("InstanceType") : "m1.small";
  const auto type = vm::FindInstanceType(instance.type);
  if (!type) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for InstanceType.", instance.type));
  }
  VMFERRY_RETURN_IF_ERROR(CheckFits(*image, *type));
  instance.image_id = image->id;
  instance.architecture = image->architecture;
  instance.platform = image->platform.empty() ? "Linux" : image->platform;
  instance.boot_mode = image->boot_mode;
  // Of uefi-preferred images, types without UEFI take the BIOS.
  if (image->boot_mode == vm::BootMode::kUefiPreferred &&
      type->hypervisor == vm::Hypervisor::kXen) {
    instance.boot_mode = vm::BootMode::kLegacyBios;
  }
  instance.root_device = image->root_device;
  instance.ena_support = image->ena_support;
  VMFERRY_RETURN_IF_ERROR(ReadNetwork(parameters, world.context.settings, request));
  VMFERRY_RETURN_IF_ERROR(ReadCount(parameters, request));
  VMFERRY_RETURN_IF_ERROR(ReadKeyAndData(world, parameters, request));
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<BlockDevice> devices, ReadBlockDevices(parameters));
  VMFERRY_ASSIGN_OR_RETURN(request.disks, Override(world, image->disks, devices));
  if (std::none_of(request.disks.begin(), request.disks.end(), [&](const vm::ImageDisk& disk) {
        return disk.device == instance.root_device;
      })) {
    return Refuse("InvalidBlockDeviceMapping",
                  fmt::format("The mapping leaves no root device {}", instance.root_device));
  }
  const std::string shutdown = parameters.Get("InstanceInitiatedShutdownBehavior");
  if (!shutdown.empty() && shutdown != "stop" && shutdown != "terminate") {
    return Refuse(
        "InvalidParameterValue",
        fmt::format("Invalid value '{}' for InstanceInitiatedShutdownBehavior.", shutdown));
  }
  instance.terminate_on_shutdown = shutdown == "terminate";
  VMFERRY_ASSIGN_OR_RETURN(instance.disable_api_termination,
                           Flag(parameters, "DisableApiTermination"));
  VMFERRY_ASSIGN_OR_RETURN(instance.disable_api_stop, Flag(parameters, "DisableApiStop"));
  VMFERRY_ASSIGN_OR_RETURN(instance.ebs_optimized, Flag(parameters, "EbsOptimized"));
  VMFERRY_ASSIGN_OR_RETURN(instance.client_token, ClientToken(parameters));
  VMFERRY_ASSIGN_OR_RETURN(request.instance_tags,
                           SpecifiedTags(parameters, "instance", {"volume"}));
  VMFERRY_ASSIGN_OR_RETURN(request.volume_tags, SpecifiedTags(parameters, "volume", {"instance"}));
  return request;
}

Result<void> RunInstances(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(vm::LaunchRequest request, ReadLaunch(world, parameters));
  request.instance.reservation_id = vm::NewResourceId(world.context.random, "r-");
  request.token_parameters = TokenParameters(parameters);
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Instance> made, world.instances.Run(request));
  InstanceListing listing;
  std::vector<const vm::Instance*> shown;
  for (const vm::Instance& instance : made) {
    VMFERRY_ASSIGN_OR_RETURN(listing.volumes[instance.id], world.disks.VolumesOf(instance.id));
    listing.tags[instance.id] = world.disks.tags().Of(instance.id);
    shown.push_back(&instance);
  }
  WriteReservation(made.empty() ? request.instance.reservation_id : made[0].reservation_id, shown,
                   listing, world.context.settings, reply);
  return {};
}

// IamInstanceProfile, MetadataOptions, CpuOptions and the like would be without effect: refused.
constexpr std::array<std::string_view, 38> kParameters = {
    "ImageId",
    "MinCount",
    "MaxCount",
    "InstanceType",
    "KeyName",
    "SubnetId",
    "SecurityGroupId.N",
    "SecurityGroup.N",
    "PrivateIpAddress",
    "UserData",
    "ClientToken",
    "EbsOptimized",
    "DisableApiTermination",
    "DisableApiStop",
    "InstanceInitiatedShutdownBehavior",
    "Monitoring.Enabled",
    "Placement.AvailabilityZone",
    "Placement.Tenancy",
    "BlockDeviceMapping.N.DeviceName",
    "BlockDeviceMapping.N.NoDevice",
    "BlockDeviceMapping.N.Ebs.SnapshotId",
    "BlockDeviceMapping.N.Ebs.VolumeSize",
    "BlockDeviceMapping.N.Ebs.VolumeType",
    "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
    "BlockDeviceMapping.N.Ebs.Encrypted",
    "BlockDeviceMapping.N.Ebs.Iops",
    "BlockDeviceMapping.N.Ebs.Throughput",
    "NetworkInterface.N.DeviceIndex",
    "NetworkInterface.N.SubnetId",
    "NetworkInterface.N.SecurityGroupId.N",
    "NetworkInterface.N.PrivateIpAddress",
    "NetworkInterface.N.AssociatePublicIpAddress",
    "NetworkInterface.N.DeleteOnTermination",
    "NetworkInterface.N.Description",
    "TagSpecification.N.ResourceType",
    "TagSpecification.N.Tag.N.Key",
    "TagSpecification.N.Tag.N.Value",
    "AdditionalInfo"};

constexpr std::array kOperations = {Operation{"RunInstances", RunInstances, kParameters}};

}  // namespace

std::span<const Operation> RunOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
