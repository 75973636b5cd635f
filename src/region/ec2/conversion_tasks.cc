// SPDX-License-Identifier: Apache-2.0
//
// ImportInstance, ImportVolume, DescribeConversionTasks, CancelConversionTask.
#include <fmt/format.h>

#include <array>

#include "base/units.h"
#include "http/message.h"
#include "region/ec2/operation.h"
#include "region/vm/ids.h"
#include "region/vm/qemu.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::uint64_t kVolumeGibMax = 16384;
constexpr std::size_t kUrlMax = 8192;

// The elements that both kinds of import have for their one disk.
void WriteDisk(const ConversionTask& task, std::string_view description, text::XmlWriter& reply) {
  reply.Element("bytesConverted", std::to_string(task.bytes_converted))
      .Element("availabilityZone", task.zone);
  if (!description.empty()) reply.Element("description", description);
  reply.Open("image")
      .Element("format", ImageFormatName(task.format))
      .Element("size", std::to_string(task.image_bytes))
      .Element("importManifestUrl", task.manifest_url)
      .Close();
  reply.Open("volume").Element("size", std::to_string(task.volume_gib));
  const bool volume_done = task.stage == TaskStage::kInstance;
  if (volume_done && task.state != TaskState::kCancelled) reply.Element("id", task.volume_id);
  reply.Close();
}

void WriteInstance(const ConversionTask& task, text::XmlWriter& reply) {
  reply.Open("importInstance").Open("volumes").Open("item");
  WriteDisk(task, task.disk_description, reply);
  reply.Element("status",
                task.stage == TaskStage::kInstance ? "completed" : TaskStateName(task.state));
  const std::string disk_message = DiskMessage(task);
  if (!disk_message.empty()) reply.Element("statusMessage", disk_message);
  reply.Close().Close();
  reply.Element("instanceId", task.instance_id);
  if (http::EqualsIgnoreCase(task.platform, "windows")) reply.Element("platform", "Windows");
  if (!task.description.empty()) reply.Element("description", task.description);
  reply.Close();
}

void WriteTask(const ConversionTask& task, const vm::TagMap& tags, text::XmlWriter& reply) {
  reply.Element("conversionTaskId", task.id).Element("expirationTime", Time(task.expire_time));
  if (task.instance_id.empty()) {
    reply.Open("importVolume");
    WriteDisk(task, task.description, reply);
    reply.Close();
  } else {
    WriteInstance(task, reply);
  }
  reply.Element("state", TaskStateName(task.state));
  // A volume has no message of its own: its progress is the task's.
  const std::string progress = task.instance_id.empty() ? DiskMessage(task) : "";
  const bool converting = progress.starts_with("Progress");
  const std::string_view message = converting ? progress : task.message;
  if (!message.empty()) reply.Element("statusMessage", message);
  WriteTags(tags, reply);
}

// `prefix` stands before the parameters' names: "DiskImage.1.", or nothing.
Result<ImportDiskRequest> ReadDisk(const QueryParameters& parameters, std::string_view prefix) {
  const auto name = [&](std::string_view member) { return fmt::format("{}{}", prefix, member); };
  ImportDiskRequest request;
  VMFERRY_ASSIGN_OR_RETURN(const std::string format, Required(parameters, name("Image.Format")));
  VMFERRY_ASSIGN_OR_RETURN(request.format, ParseImageFormat(format));
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string bytes,
                           Required(parameters, name("Image.Bytes")));
  VMFERRY_ASSIGN_OR_RETURN(request.image_bytes, Number(parameters, name("Image.Bytes"), 0));
  if (request.image_bytes == 0) {
    return Refuse("InvalidParameter", "Parameter disk-image-size=0 has an invalid format");
  }
  VMFERRY_ASSIGN_OR_RETURN(request.manifest_url,
                           Required(parameters, name("Image.ImportManifestUrl")));
  if (request.manifest_url.size() > kUrlMax) {
    return Refuse("InvalidParameterValue", "The ImportManifestUrl is too long");
  }
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string size,
                           Required(parameters, name("Volume.Size")));
  VMFERRY_ASSIGN_OR_RETURN(request.volume_gib, Number(parameters, name("Volume.Size"), 0));
  if (request.volume_gib == 0 || request.volume_gib > kVolumeGibMax) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Value ({}) for parameter Volume.Size is invalid. Expecting a value "
                              "between 1 and {}.",
                              request.volume_gib, kVolumeGibMax));
  }
  request.description = parameters.Get(name("Description"));
  return request;
}

// Where and as what the instance shall run.
Result<vm::Instance> ReadLaunch(World& world, const QueryParameters& parameters) {
  const Settings& settings = world.context.settings;
  const auto value = [&](std::string_view name, std::string fallback) {
    const std::string* given = parameters.Find(fmt::format("LaunchSpecification.{}", name));
    return given == nullptr || given->empty() ? fallback : *given;
  };
  vm::Instance instance;
  instance.architecture = value("Architecture", "x86_64");
  if (instance.architecture != "x86_64" && instance.architecture != "i386") {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for Architecture", instance.architecture));
  }
  instance.type = value("InstanceType", "m1.small");
  if (!vm::FindInstanceType(instance.type)) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for InstanceType.", instance.type));
  }
  instance.subnet_id = value("SubnetId", DefaultSubnet(settings));
  if (instance.subnet_id != DefaultSubnet(settings)) {
    return Refuse("InvalidSubnetID.NotFound",
                  fmt::format("The subnet ID '{}' does not exist", instance.subnet_id));
  }
  instance.group_id = value("GroupId.1", DefaultGroup(settings));
  if (instance.group_id != DefaultGroup(settings) || value("GroupName.1", "default") != "default") {
    return Refuse("InvalidGroup.NotFound",
                  fmt::format("The security group '{}' does not exist", instance.group_id));
  }
  instance.zone = value("Placement.AvailabilityZone", settings.zone);
  if (instance.zone != settings.zone) {
    return Refuse("InvalidZone.NotFound",
                  fmt::format("The zone '{}' does not exist.", instance.zone));
  }
  const std::string shutdown = value("InstanceInitiatedShutdownBehavior", "stop");
  if (shutdown != "stop" && shutdown != "terminate") {
    return Refuse(
        "InvalidParameterValue",
        fmt::format("Invalid value '{}' for InstanceInitiatedShutdownBehavior.", shutdown));
  }
  instance.terminate_on_shutdown = shutdown == "terminate";
  instance.image_id = vm::NewResourceId(world.context.random, "ami-");
  instance.reservation_id = vm::NewResourceId(world.context.random, "r-");
  instance.private_ip = fmt::format("172.31.{}.{}", world.context.random.Below(16),
                                    4 + world.context.random.Below(250));
  return instance;
}

Result<void> ImportInstance(World& world, const QueryParameters& parameters,
                            text::XmlWriter& reply) {
  ImportInstanceRequest request;
  VMFERRY_ASSIGN_OR_RETURN(request.platform, Required(parameters, "Platform"));
  if (!http::EqualsIgnoreCase(request.platform, "windows") &&
      !http::EqualsIgnoreCase(request.platform, "linux")) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for platform.", request.platform));
  }
  if (parameters.Indices("DiskImage").size() > 1) {
    return Refuse("InvalidParameterValue",
                  "Only instances with a single disk can be imported by ImportInstance");
  }
  VMFERRY_ASSIGN_OR_RETURN(request.disk, ReadDisk(parameters, "DiskImage.1."));
  VMFERRY_ASSIGN_OR_RETURN(request.instance, ReadLaunch(world, parameters));
  request.instance.platform = request.platform;
  request.description = parameters.Get("Description");
  VMFERRY_ASSIGN_OR_RETURN(const ConversionTask task, world.importer.ImportInstance(request));
  reply.Open("conversionTask");
  WriteTask(task, {}, reply);
  reply.Close();
  return {};
}

Result<void> ImportVolume(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const ImportDiskRequest request, ReadDisk(parameters, ""));
  VMFERRY_ASSIGN_OR_RETURN(const std::string zone, Required(parameters, "AvailabilityZone"));
  if (zone != world.context.settings.zone) {
    return Refuse("InvalidZone.NotFound", fmt::format("The zone '{}' does not exist.", zone));
  }
  VMFERRY_ASSIGN_OR_RETURN(const ConversionTask task, world.importer.ImportVolume(request, zone));
  reply.Open("conversionTask");
  WriteTask(task, {}, reply);
  reply.Close();
  return {};
}

Result<void> CheckTaskId(std::string_view id) {
  if (vm::IsTaskId(id, "import-i-") || vm::IsTaskId(id, "import-vol-")) return {};
  return Refuse("InvalidConversionTaskId.Malformed",
                fmt::format("Invalid conversion task ID: \"{}\"", id));
}

Result<void> DescribeConversionTasks(World& world, const QueryParameters& parameters,
                                     text::XmlWriter& reply) {
  std::vector<ConversionTask> tasks;
  const std::vector<std::string> ids = parameters.List("ConversionTaskId");
  for (const std::string& id : ids) {
    VMFERRY_RETURN_IF_ERROR(CheckTaskId(id));
    VMFERRY_ASSIGN_OR_RETURN(ConversionTask task, world.importer.Find(id));
    tasks.push_back(std::move(task));
  }
  if (ids.empty()) tasks = world.importer.List();
  const auto tags = world.disks.tags().OfAll("import-");
  reply.Open("conversionTasks");
  for (const ConversionTask& task : tasks) {
    const auto tagged = tags.find(task.id);
    reply.Open("item");
    WriteTask(task, tagged == tags.end() ? vm::TagMap() : tagged->second, reply);
    reply.Close();
  }
  reply.Close();
  return {};
}

Result<void> CancelConversionTask(World& world, const QueryParameters& parameters,
                                  text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, Required(parameters, "ConversionTaskId"));
  VMFERRY_RETURN_IF_ERROR(CheckTaskId(id));
  VMFERRY_RETURN_IF_ERROR(world.importer.Cancel(id, parameters.Get("ReasonMessage")));
  reply.Element("return", "true");
  return {};
}

// UserData, PrivateIpAddress and other placement would be without effect: refused by name.
constexpr std::array<std::string_view, 16> kImportParameters = {
    "Platform",
    "Description",
    "LaunchSpecification.Architecture",
    "LaunchSpecification.InstanceType",
    "LaunchSpecification.GroupName.N",
    "LaunchSpecification.GroupId.N",
    "LaunchSpecification.SubnetId",
    "LaunchSpecification.Placement.AvailabilityZone",
    "LaunchSpecification.InstanceInitiatedShutdownBehavior",
    "LaunchSpecification.Monitoring",
    "LaunchSpecification.Monitoring.Enabled",
    "DiskImage.N.Image.Format",
    "DiskImage.N.Image.Bytes",
    "DiskImage.N.Image.ImportManifestUrl",
    "DiskImage.N.Volume.Size",
    "DiskImage.N.Description"};
constexpr std::array<std::string_view, 6> kVolumeParameters = {
    "AvailabilityZone",        "Description", "Image.Format", "Image.Bytes",
    "Image.ImportManifestUrl", "Volume.Size"};
constexpr std::array<std::string_view, 1> kDescribeParameters = {"ConversionTaskId.N"};
constexpr std::array<std::string_view, 2> kCancelParameters = {"ConversionTaskId", "ReasonMessage"};

constexpr std::array kOperations = {
    Operation{"ImportInstance", ImportInstance, kImportParameters},
    Operation{"ImportVolume", ImportVolume, kVolumeParameters},
    Operation{"DescribeConversionTasks", DescribeConversionTasks, kDescribeParameters},
    Operation{"CancelConversionTask", CancelConversionTask, kCancelParameters},
};

}  // namespace

std::span<const Operation> ConversionOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
