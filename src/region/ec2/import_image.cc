// SPDX-License-Identifier: Apache-2.0
//
// ImportImage, DescribeImportImageTasks.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "http/message.h"
#include "region/ec2/import_tasks.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::size_t kContainersMax = 21;

bool OneOf(std::string_view value, std::initializer_list<std::string_view> allowed) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

// AWS's form for a value this service does not take.
Error BadFormat(std::string_view parameter, std::string_view value) {
  return Refuse("InvalidParameter", fmt::format("Parameter {}={} has an invalid format", parameter,
                                                value.substr(0, 100)));
}

void WriteDisk(const ImageTask& task, std::size_t index, text::XmlWriter& reply) {
  const ImportDisk& disk = task.disks[index];
  reply.Open("item");
  const bool inspected = task.stage >= ImageStage::kSnapshot;
  if (!disk.device.empty() || inspected) {
    reply.Element("deviceName", inspected ? DeviceOf(task, index) : disk.device);
  }
  if (disk.given_snapshot.empty()) reply.Element("diskImageSize", DiskImageSize(disk));
  WriteSource(disk, reply);
  const bool done = task.state == TaskState::kCompleted;
  if (done || !disk.given_snapshot.empty()) {
    reply.Element("snapshotId", done ? disk.snapshot_id : disk.given_snapshot);
  }
  reply.Element("status", task.stage > ImageStage::kConvert ? "completed" : "active");
  reply.Close();
}

void WriteTask(const ImageTask& task, const vm::TagMap& tags, text::XmlWriter& reply) {
  const auto optional = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) reply.Element(name, value);
  };
  optional("architecture", task.architecture);
  optional("description", task.description);
  reply.Element("encrypted", "false");
  if (task.state == TaskState::kCompleted) reply.Element("imageId", task.image_id);
  reply.Element("importTaskId", task.id);
  optional("licenseType", task.license_type);
  optional("platform", task.platform);
  const int progress = ImageTaskProgress(task);
  if (progress >= 0) reply.Element("progress", std::to_string(progress));
  reply.Open("snapshotDetailSet");
  for (std::size_t i = 0; i < task.disks.size(); ++i) WriteDisk(task, i, reply);
  reply.Close();
  reply.Element("status", ImageTaskStatus(task.state));
  optional("statusMessage", ImageTaskMessage(task));
  WriteTags(tags, reply);
  optional("usageOperation", task.usage_operation);
}

void WriteDescribedTask(const ImageTask& task, const vm::TagMap& tags, text::XmlWriter& reply) {
  WriteTask(task, tags, reply);
  const std::string& mode = task.found_boot_mode.empty() ? task.boot_mode : task.found_boot_mode;
  if (!mode.empty()) reply.Element("bootMode", mode);
}

// What the machine is said to be.
Result<void> ReadMachine(const QueryParameters& parameters, ImageTask& task) {
  task.architecture = parameters.Get("Architecture");
  if (!OneOf(task.architecture, {"", "x86_64"})) {
    return BadFormat("architecture", task.architecture);  // i386 ended in 2026, arm64 never began
  }
  task.boot_mode = parameters.Get("BootMode");
  if (!OneOf(task.boot_mode, {"", "legacy-bios", "uefi"})) {
    return BadFormat("boot-mode", task.boot_mode);
  }
  task.platform = parameters.Get("Platform");
  if (!OneOf(task.platform, {"", "Linux", "Windows"})) return BadFormat("platform", task.platform);
  if (task.platform == "Windows") {
    return Refuse("UnsupportedOperation", "Windows guests are not modelled by this region");
  }
  const std::string hypervisor = parameters.Get("Hypervisor");
  if (!OneOf(hypervisor, {"", "xen"})) return BadFormat("hypervisor", hypervisor);
  task.license_type = parameters.Get("LicenseType");
  task.usage_operation = parameters.Get("UsageOperation");
  if (!task.license_type.empty() && !task.usage_operation.empty()) {
    return Refuse("InvalidParameterCombination",
                  "LicenseType and UsageOperation exclude each other");
  }
  if (!OneOf(task.license_type, {"", "BYOL"})) {
    return BadFormat("license-type", task.license_type);  // AWS has no Linux licences to give
  }
  if (!OneOf(task.usage_operation, {"", "RunInstances"})) {
    return BadFormat("usage-operation", task.usage_operation);
  }
  return {};
}

Result<void> ImportImage(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const vm::TagMap tags, SpecifiedTags(parameters, "import-image-task"));
  const std::vector<std::uint64_t> indices = parameters.Indices("DiskContainer");
  if (indices.empty()) {
    return Refuse("MissingParameter", "The request must contain the parameter DiskContainer");
  }
  if (indices.size() > kContainersMax) {
    return Refuse("InvalidParameterValue",
                  fmt::format("At most {} disk containers can be imported", kContainersMax));
  }
  std::vector<ImportDisk> containers;
  for (const std::uint64_t index : indices) {
    VMFERRY_ASSIGN_OR_RETURN(
        ImportDisk disk, ReadContainer(world, parameters, fmt::format("DiskContainer.{}.", index),
                                       ImageTaskKind::kImage));
    if (disk.format == ImageFormat::kOva && indices.size() > 1) {
      return Refuse("InvalidParameterCombination", "An OVA must be the only disk container");
    }
    containers.push_back(std::move(disk));
  }
  VMFERRY_ASSIGN_OR_RETURN(ImageTask task,
                           ReadImportTask(world, parameters, ImageTaskKind::kImage));
  VMFERRY_RETURN_IF_ERROR(ReadMachine(parameters, task));
  task.containers = std::move(containers);
  VMFERRY_ASSIGN_OR_RETURN(task, world.image_tasks.Begin(std::move(task), tags));
  WriteTask(task, world.disks.tags().Of(task.id), reply);
  return {};
}

Result<void> DescribeImportImageTasks(World& world, const QueryParameters& parameters,
                                      text::XmlWriter& reply) {
  return DescribeTasks(world, parameters, reply, ImageTaskKind::kImage, "importImageTaskSet",
                       WriteDescribedTask);
}

constexpr std::array<std::string_view, 24> kImportParameters = {
    "Architecture",
    "BootMode",
    "ClientData.Comment",
    "ClientData.UploadStart",
    "ClientData.UploadEnd",
    "ClientData.UploadSize",
    "ClientToken",
    "Description",
    "DiskContainer.N.Description",
    "DiskContainer.N.DeviceName",
    "DiskContainer.N.Format",
    "DiskContainer.N.SnapshotId",
    "DiskContainer.N.Url",
    "DiskContainer.N.UserBucket.S3Bucket",
    "DiskContainer.N.UserBucket.S3Key",
    "Encrypted",
    "Hypervisor",
    "LicenseType",
    "Platform",
    "RoleName",
    "TagSpecification.N.ResourceType",
    "TagSpecification.N.Tag.N.Key",
    "TagSpecification.N.Tag.N.Value",
    "UsageOperation"};
constexpr std::array<std::string_view, 5> kDescribeParameters = {
    "ImportTaskId.N", "Filters.N.Name", "Filters.N.Value.N", "MaxResults", "NextToken"};

constexpr std::array kOperations = {
    Operation{"ImportImage", ImportImage, kImportParameters},
    Operation{"DescribeImportImageTasks", DescribeImportImageTasks, kDescribeParameters},
};

}  // namespace

std::span<const Operation> ImportImageOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
