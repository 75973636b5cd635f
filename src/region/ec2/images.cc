// SPDX-License-Identifier: Apache-2.0
//
// RegisterImage, DeregisterImage, DescribeImages.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "http/message.h"
#include "region/ec2/block_devices.h"
#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

using vm::MachineImage;

constexpr std::size_t kNameMin = 3;
constexpr std::size_t kNameMax = 128;
constexpr std::size_t kDescriptionMax = 255;

Result<void> CheckName(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789()[] ./-'@_";
  if (name.size() >= kNameMin && name.size() <= kNameMax &&
      name.find_first_not_of(kAllowed) == name.npos) {
    return {};
  }
  return Refuse("InvalidAMIName.Malformed",
                "AMI names must be between 3 and 128 characters long, and may contain letters, "
                "numbers, and only the following characters: ()[] ./-'@_");
}

Result<MachineImage> ReadImage(World& world, const QueryParameters& parameters) {
  MachineImage image;
  VMFERRY_ASSIGN_OR_RETURN(image.name, Required(parameters, "Name"));
  VMFERRY_RETURN_IF_ERROR(CheckName(image.name));
  image.description = parameters.Get("Description");
  if (image.description.size() > kDescriptionMax) {
    return Refuse("InvalidParameterValue", "The description has more than 255 characters");
  }
  image.architecture = parameters.Has("Architecture") ? parameters.Get("Architecture") : "i386";
  const auto architectures = {"i386", "x86_64", "arm64"};
  if (std::find(architectures.begin(), architectures.end(), image.architecture) ==
      architectures.end()) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for architecture.", image.architecture));
  }
  // EC2's default is paravirtual, for which there is no instance type here.
  if (parameters.Get("VirtualizationType") != "hvm") {
    return Refuse("UnsupportedOperation",
                  "Paravirtual images, the default, are not modelled by this region: send "
                  "VirtualizationType hvm");
  }
  if (const std::string mode = parameters.Get("BootMode"); !mode.empty()) {
    const auto parsed = vm::ParseBootMode(mode);
    if (!parsed) {
      return Refuse("InvalidParameterValue", fmt::format("Invalid value '{}' for bootMode.", mode));
    }
    image.boot_mode = *parsed;
  }
  VMFERRY_ASSIGN_OR_RETURN(image.ena_support, Flag(parameters, "EnaSupport"));
  if (parameters.Has("RootDeviceName")) image.root_device = parameters.Get("RootDeviceName");
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<BlockDevice> devices, ReadBlockDevices(parameters));
  for (const BlockDevice& device : devices) {
    if (device.no_device) continue;
    VMFERRY_ASSIGN_OR_RETURN(vm::ImageDisk disk, DiskOf(world, device));
    image.disks.push_back(std::move(disk));
  }
  const auto root =
      std::find_if(image.disks.begin(), image.disks.end(),
                   [&](const vm::ImageDisk& disk) { return disk.device == image.root_device; });
  if (root == image.disks.end() || root->snapshot_id.empty()) {
    return Refuse("InvalidBlockDeviceMapping",
                  fmt::format("The root device {} must be in the block device mapping, with a "
                              "snapshot",
                              image.root_device));
  }
  return image;
}

Result<void> RegisterImage(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(MachineImage image, ReadImage(world, parameters));
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags, SpecifiedTags(parameters, "image", {"snapshot"}));
  VMFERRY_ASSIGN_OR_RETURN(const MachineImage registered,
                           world.images.Register(std::move(image), tags));
  reply.Element("imageId", registered.id);
  return {};
}

Result<void> DeregisterImage(World& world, const QueryParameters& parameters,
                             text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kImageIds));
  VMFERRY_ASSIGN_OR_RETURN(const bool with_snapshots,
                           Flag(parameters, "DeleteAssociatedSnapshots"));
  const auto image = world.images.Find(id);
  if (!image) return NotFound(kImageIds, id);
  VMFERRY_RETURN_IF_ERROR(world.images.Deregister(id));
  reply.Element("return", "true");
  if (!with_snapshots) return {};
  reply.Open("deleteSnapshotResultSet");
  for (const vm::ImageDisk& disk : image->disks) {
    if (disk.snapshot_id.empty()) continue;
    // Those that other images use stay, as on EC2.
    const bool deleted = world.disks.DeleteSnapshot(disk.snapshot_id).has_value();
    reply.Open("item")
        .Element("snapshotId", disk.snapshot_id)
        .Element("returnCode", deleted ? "success" : "skipped")
        .Close();
  }
  reply.Close();
  return {};
}

std::optional<std::vector<std::string>> FilterValues(const MachineImage& image,
                                                     const Settings& settings,
                                                     std::string_view name) {
  const auto one = [](std::string_view value) {
    return std::vector<std::string>{std::string(value)};
  };
  const auto if_any = [&](std::string_view value) {
    return value.empty() ? std::vector<std::string>() : one(value);
  };
  const auto of_disks = [&](auto value) {
    std::vector<std::string> values;
    for (const vm::ImageDisk& disk : image.disks) values.emplace_back(value(disk));
    return values;
  };
  const bool windows = http::EqualsIgnoreCase(image.platform, "windows");
  if (name == "image-id") return one(image.id);
  if (name == "name") return one(image.name);
  if (name == "description") return one(image.description);
  if (name == "state") return one(vm::StateName(image.state));
  if (name == "architecture") return one(image.architecture);
  if (name == "boot-mode") return if_any(vm::BootModeName(image.boot_mode));
  if (name == "creation-date") return one(Time(image.creation_time));
  if (name == "ena-support") return one(Word(image.ena_support));
  if (name == "owner-id") return one(settings.account_id);
  if (name == "owner-alias" || name == "product-code") return std::vector<std::string>();
  if (name == "is-public") return one("false");
  if (name == "image-type") return one("machine");
  if (name == "platform") return windows ? one("windows") : std::vector<std::string>();
  if (name == "root-device-name") return one(image.root_device);
  if (name == "root-device-type") return one("ebs");
  if (name == "virtualization-type") return one("hvm");
  if (name == "hypervisor") return one("xen");
  if (name == "manifest-location") return one(settings.account_id + "/" + image.name);
  if (name == "block-device-mapping.snapshot-id") {
    return of_disks([](const vm::ImageDisk& disk) { return disk.snapshot_id; });
  }
  if (name == "block-device-mapping.device-name") {
    return of_disks([](const vm::ImageDisk& disk) { return disk.device; });
  }
  if (name == "block-device-mapping.volume-size") {
    return of_disks([](const vm::ImageDisk& disk) { return std::to_string(disk.size_gib); });
  }
  if (name == "block-device-mapping.volume-type") {
    return of_disks([](const vm::ImageDisk& disk) { return disk.volume_type; });
  }
  if (name == "block-device-mapping.delete-on-termination") {
    return of_disks([](const vm::ImageDisk& disk) { return Word(disk.delete_on_termination); });
  }
  if (name == "block-device-mapping.encrypted") {
    return of_disks([](const vm::ImageDisk& disk) { return Word(disk.encrypted); });
  }
  return std::nullopt;
}

void WriteImage(const MachineImage& image, const vm::TagMap& tags, const Settings& settings,
                text::XmlWriter& reply) {
  const bool windows = http::EqualsIgnoreCase(image.platform, "windows");
  reply.Open("item");
  reply.Element("imageId", image.id)
      .Element("imageLocation", settings.account_id + "/" + image.name)
      .Element("imageState", vm::StateName(image.state))
      .Element("imageOwnerId", settings.account_id)
      .Element("creationDate", Time(image.creation_time))
      .Element("isPublic", "false")
      .Element("architecture", image.architecture)
      .Element("imageType", "machine");
  if (windows) reply.Element("platform", "windows");
  reply.Element("platformDetails", windows ? "Windows" : "Linux/UNIX")
      .Element("usageOperation", windows ? "RunInstances:0002" : "RunInstances")
      .Element("name", image.name);
  if (!image.description.empty()) reply.Element("description", image.description);
  reply.Element("rootDeviceType", "ebs").Element("rootDeviceName", image.root_device);
  reply.Open("blockDeviceMapping");
  for (const vm::ImageDisk& disk : image.disks) {
    reply.Open("item");
    WriteImageDisk(disk, reply);
    reply.Close();
  }
  reply.Close();
  reply.Element("virtualizationType", "hvm");
  WriteTags(tags, reply);
  reply.Element("hypervisor", "xen").Element("enaSupport", Word(image.ena_support));
  if (const std::string_view mode = vm::BootModeName(image.boot_mode); !mode.empty()) {
    reply.Element("bootMode", mode);
  }
  reply.Close();
}

// All images are the account's own and private: nobody was given permission to launch them.
bool Asked(const QueryParameters& parameters, const Settings& settings) {
  const std::vector<std::string> owners = parameters.List("Owner");
  if (!parameters.List("ExecutableBy").empty()) return false;
  return owners.empty() || std::any_of(owners.begin(), owners.end(), [&](const auto& owner) {
           return owner == "self" || owner == settings.account_id;
         });
}

Result<void> DescribeImages(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  const Settings& settings = world.context.settings;
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<MachineImage> images, world.images.List());
  auto tags = world.disks.tags().OfAll("ami-");
  VMFERRY_ASSIGN_OR_RETURN(const std::set<std::string> wanted,
                           ListedIds(parameters, kImageIds, [&](const std::string& id) {
                             return std::any_of(
                                 images.begin(), images.end(),
                                 [&](const MachineImage& image) { return image.id == id; });
                           }));
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters);
  const bool asked = Asked(parameters, settings);
  reply.Open("imagesSet");
  for (const MachineImage& image : images) {
    if (!asked || (!wanted.empty() && !wanted.contains(image.id))) continue;
    VMFERRY_ASSIGN_OR_RETURN(const bool matches,
                             filters.Match(tags[image.id], [&](std::string_view name) {
                               return FilterValues(image, settings, name);
                             }));
    if (matches && page.Take(image.id)) WriteImage(image, tags[image.id], settings, reply);
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

constexpr std::array<std::string_view, 19> kRegisterParameters = {
    "Name",
    "Description",
    "Architecture",
    "VirtualizationType",
    "RootDeviceName",
    "BootMode",
    "EnaSupport",
    "BlockDeviceMapping.N.DeviceName",
    "BlockDeviceMapping.N.NoDevice",
    "BlockDeviceMapping.N.Ebs.SnapshotId",
    "BlockDeviceMapping.N.Ebs.VolumeSize",
    "BlockDeviceMapping.N.Ebs.VolumeType",
    "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
    "BlockDeviceMapping.N.Ebs.Encrypted",
    "BlockDeviceMapping.N.Ebs.Iops",
    "BlockDeviceMapping.N.Ebs.Throughput",
    "TagSpecification.N.ResourceType",
    "TagSpecification.N.Tag.N.Key",
    "TagSpecification.N.Tag.N.Value"};
constexpr std::array<std::string_view, 2> kDeregisterParameters = {"ImageId",
                                                                   "DeleteAssociatedSnapshots"};
constexpr std::array<std::string_view, 9> kDescribeParameters = {
    "ImageId.N",         "Owner.N",         "ExecutableBy.N", "Filter.N.Name", "Filter.N.Value.N",
    "IncludeDeprecated", "IncludeDisabled", "MaxResults",     "NextToken"};

constexpr std::array kOperations = {
    Operation{"RegisterImage", RegisterImage, kRegisterParameters},
    Operation{"DeregisterImage", DeregisterImage, kDeregisterParameters},
    Operation{"DescribeImages", DescribeImages, kDescribeParameters},
};

}  // namespace

std::span<const Operation> ImageOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
