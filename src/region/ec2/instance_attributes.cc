// SPDX-License-Identifier: Apache-2.0
//
// DescribeInstanceAttribute, ModifyInstanceAttribute.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "codec/text_codec.h"
#include "region/ec2/filters.h"
#include "region/ec2/instance_writer.h"
#include "region/ec2/operation.h"
#include "region/vm/instance_types.h"

namespace vmferry::region::ec2 {
namespace {

using vm::Instance;
using vm::InstanceState;

void WriteValue(std::string_view attribute, std::string_view value, text::XmlWriter& reply) {
  reply.Open(attribute);
  if (!value.empty()) reply.Element("value", value);
  reply.Close();
}

Result<void> DescribeInstanceAttribute(World& world, const QueryParameters& parameters,
                                       text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kInstanceIds));
  VMFERRY_ASSIGN_OR_RETURN(const std::string name, Required(parameters, "Attribute"));
  const auto instance = world.instances.Find(id);
  if (!instance) return NotFound(kInstanceIds, id);
  reply.Element("instanceId", id);
  if (name == "instanceType") {
    WriteValue(name, instance->type, reply);
  } else if (name == "disableApiTermination") {
    WriteValue(name, Word(instance->disable_api_termination), reply);
  } else if (name == "disableApiStop") {
    WriteValue(name, Word(instance->disable_api_stop), reply);
  } else if (name == "instanceInitiatedShutdownBehavior") {
    WriteValue(name, instance->terminate_on_shutdown ? "terminate" : "stop", reply);
  } else if (name == "rootDeviceName") {
    WriteValue(name, instance->root_device, reply);
  } else if (name == "sourceDestCheck") {
    WriteValue(name, Word(instance->source_dest_check), reply);
  } else if (name == "ebsOptimized") {
    WriteValue(name, Word(instance->ebs_optimized), reply);
  } else if (name == "enaSupport") {
    WriteValue(name, Word(instance->ena_support), reply);
  } else if (name == "kernel" || name == "ramdisk" || name == "sriovNetSupport") {
    WriteValue(name, "", reply);
  } else if (name == "userData") {
    VMFERRY_ASSIGN_OR_RETURN(const std::string data, world.instances.UserData(id));
    WriteValue(name, data, reply);
  } else if (name == "groupSet") {
    reply.Open(name).Open("item").Element("groupId", instance->group_id);
    reply.Element("groupName", "default").Close().Close();
  } else if (name == "productCodes") {
    reply.Empty(name);
  } else if (name == "blockDeviceMapping") {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Volume> volumes,
                             world.disks.VolumesOf(instance->id));
    WriteBlockDevices(volumes, reply);
  } else {
    return Refuse(
        "InvalidParameterValue",
        fmt::format("Value ({}) for parameter attribute is invalid. Unknown attribute.", name));
  }
  return {};
}

Result<void> SetType(const std::string& type, Instance& instance) {
  if (!vm::FindInstanceType(type)) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Invalid value '{}' for InstanceType.", type));
  }
  instance.type = type;
  return {};
}

// The attributes that a request names, as EC2 writes them, with their values.
std::vector<std::pair<std::string, std::string>> Changes(const QueryParameters& parameters) {
  std::vector<std::pair<std::string, std::string>> changes;
  if (parameters.Has("Attribute")) {
    changes.emplace_back(parameters.Get("Attribute"), parameters.Get("Value"));
  }
  for (const char* name :
       {"InstanceType", "UserData", "DisableApiTermination", "DisableApiStop",
        "InstanceInitiatedShutdownBehavior", "EbsOptimized", "SourceDestCheck", "EnaSupport"}) {
    const std::string* value = parameters.Find(fmt::format("{}.Value", name));
    if (value == nullptr) continue;
    std::string attribute = name;
    attribute[0] = static_cast<char>(attribute[0] - 'A' + 'a');
    changes.emplace_back(std::move(attribute), *value);
  }
  return changes;
}

Result<void> ChangeFlag(std::string_view name, const std::string& value, bool& flag) {
  if (value != "true" && value != "false") {
    return Refuse("InvalidParameterValue",
                  fmt::format("Value ({}) for parameter {} is invalid.", value, name));
  }
  flag = value == "true";
  return {};
}

Result<void> Change(const std::string& name, const std::string& value, Instance& instance,
                    std::optional<std::string>& user_data) {
  const bool when_stopped = name == "instanceType" || name == "userData" ||
                            name == "ebsOptimized" || name == "enaSupport";
  if (when_stopped && instance.state != InstanceState::kStopped) {
    return Refuse("IncorrectInstanceState",
                  fmt::format("The instance '{}' is not in the 'stopped' state.", instance.id));
  }
  if (name == "instanceType") return SetType(value, instance);
  if (name == "disableApiTermination") {
    return ChangeFlag(name, value, instance.disable_api_termination);
  }
  if (name == "disableApiStop") return ChangeFlag(name, value, instance.disable_api_stop);
  if (name == "ebsOptimized") return ChangeFlag(name, value, instance.ebs_optimized);
  if (name == "sourceDestCheck") return ChangeFlag(name, value, instance.source_dest_check);
  if (name == "enaSupport") return ChangeFlag(name, value, instance.ena_support);
  if (name == "instanceInitiatedShutdownBehavior") {
    if (value != "stop" && value != "terminate") {
      return Refuse("InvalidParameterValue",
                    fmt::format("Invalid value '{}' for {}.", value, name));
    }
    instance.terminate_on_shutdown = value == "terminate";
    return {};
  }
  if (name == "userData") {
    if (!codec::Base64Decode(value)) {
      return Refuse("InvalidParameterValue", "Invalid BASE64 encoding of user data.");
    }
    user_data = value;
    return {};
  }
  return Refuse("InvalidParameterValue",
                fmt::format("Value ({}) for parameter attribute is invalid.", name));
}

Result<void> ChangeDisks(World& world, const QueryParameters& parameters,
                         const Instance& instance) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Volume> volumes,
                           world.disks.VolumesOf(instance.id));
  for (const std::uint64_t index : parameters.Indices("BlockDeviceMapping")) {
    const std::string at = fmt::format("BlockDeviceMapping.{}.", index);
    const std::string device = parameters.Get(at + "DeviceName");
    const auto found = std::find_if(volumes.begin(), volumes.end(), [&](const vm::Volume& volume) {
      return volume.device == device;
    });
    if (found == volumes.end()) {
      return Refuse("InvalidInstanceAttributeValue",
                    fmt::format("No device is currently mapped at {}", device));
    }
    VMFERRY_ASSIGN_OR_RETURN(const bool go, Flag(parameters, at + "Ebs.DeleteOnTermination",
                                                 found->delete_on_termination));
    VMFERRY_RETURN_IF_ERROR(world.disks.SetDeleteOnTermination(found->id, go));
  }
  return {};
}

Result<void> ModifyInstanceAttribute(World& world, const QueryParameters& parameters,
                                     text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kInstanceIds));
  auto instance = world.instances.Find(id);
  if (!instance) return NotFound(kInstanceIds, id);
  std::optional<std::string> user_data;
  const auto changes = Changes(parameters);
  for (const auto& [name, value] : changes) {
    VMFERRY_RETURN_IF_ERROR(Change(name, value, *instance, user_data));
  }
  const std::vector<std::string> groups = parameters.List("GroupId");
  VMFERRY_RETURN_IF_ERROR(CheckNetwork("", groups, {}, world.context.settings));
  VMFERRY_RETURN_IF_ERROR(ChangeDisks(world, parameters, *instance));
  if (changes.empty() && groups.empty() && parameters.Indices("BlockDeviceMapping").empty()) {
    return Refuse("InvalidParameterCombination", "No attributes specified.");
  }
  VMFERRY_RETURN_IF_ERROR(world.instances.Update(*instance));
  if (user_data) VMFERRY_RETURN_IF_ERROR(world.instances.SetUserData(id, *user_data));
  reply.Element("return", "true");
  return {};
}

constexpr std::array<std::string_view, 2> kDescribeParameters = {"InstanceId", "Attribute"};
constexpr std::array<std::string_view, 14> kModifyParameters = {
    "InstanceId",
    "Attribute",
    "Value",
    "InstanceType.Value",
    "UserData.Value",
    "DisableApiTermination.Value",
    "DisableApiStop.Value",
    "InstanceInitiatedShutdownBehavior.Value",
    "EbsOptimized.Value",
    "SourceDestCheck.Value",
    "EnaSupport.Value",
    "GroupId.N",
    "BlockDeviceMapping.N.DeviceName",
    "BlockDeviceMapping.N.Ebs.DeleteOnTermination"};

constexpr std::array kOperations = {
    Operation{"DescribeInstanceAttribute", DescribeInstanceAttribute, kDescribeParameters},
    Operation{"ModifyInstanceAttribute", ModifyInstanceAttribute, kModifyParameters},
};

}  // namespace

std::span<const Operation> InstanceAttributeOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
