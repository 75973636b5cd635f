// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/operation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::size_t kTagKeyMax = 127;  // EC2, CreateTags
constexpr std::size_t kTagValueMax = 256;
constexpr std::size_t kTokenMax = 64;

// EC2's codes for errors of the parts below; their messages are written for EC2's readers.
struct Translation {
  std::string_view reason;
  std::string_view code;
};
constexpr std::array kTranslations = {
    Translation{"region.no_such_volume", "InvalidVolume.NotFound"},
    Translation{"region.no_such_snapshot", "InvalidSnapshot.NotFound"},
    Translation{"region.no_such_image", "InvalidAMIID.NotFound"},
    Translation{"region.image_name_taken", "InvalidAMIName.Duplicate"},
    Translation{"region.no_such_instance", "InvalidInstanceID.NotFound"},
    Translation{"region.no_such_task", "InvalidConversionTaskId"},
    Translation{"region.task_final", "DeleteConversionTaskError"},
    Translation{"region.too_many_tasks", "ResourceLimitExceeded"},
    Translation{"region.too_many_image_tasks", "ResourceCountLimitExceeded"},
    Translation{"region.client_token_reused", "IdempotentParameterMismatch"},
    Translation{"region.too_many_tags", "TagLimitExceeded"},
    Translation{"region.volume_in_use", "VolumeInUse"},
    Translation{"region.snapshot_in_use", "InvalidSnapshot.InUse"},
    Translation{"region.volume_too_small", "InvalidBlockDeviceMapping"},
    Translation{"region.address_in_use", "InvalidIPAddress.InUse"},
    Translation{"region.too_many_instances", "InstanceLimitExceeded"},
    Translation{"region.too_many_disks", "AttachmentLimitExceeded"},
    Translation{"region.device_taken", "InvalidParameterValue"},
    Translation{"region.root_volume", "OperationNotPermitted"},
    Translation{"region.no_hot_plug", "UnsupportedOperation"},
    Translation{"region.key_pair_exists", "InvalidKeyPair.Duplicate"},
    Translation{"region.no_root_volume", "IncorrectInstanceState"},
    Translation{"region.wrong_state", "IncorrectState"},
    Translation{"region.offset_past_end", "InvalidParameterValue"},
    Translation{"region.bad_image_format", "InvalidFormat"},
};

std::string DefaultId(std::string_view prefix, const Settings& settings) {
  const codec::Sha256Digest digest =
      codec::Sha256(AsBytes(fmt::format("{}{}", prefix, settings.account_id)));
  return fmt::format("{}0{}", prefix, codec::HexEncode(std::span(digest).first(8)));
}

}  // namespace

Error Refuse(std::string_view code, std::string message, int status) {
  return Error(ErrorCode::kInvalidArgument, "region.ec2_refused", std::move(message))
      .With("code", code)
      .With("http_status", static_cast<std::uint64_t>(status));
}

Refusal RefusalOf(const Error& error) {
  if (error.reason() == "region.ec2_refused") {
    return {*error.FindFact("code"), error.message(),
            static_cast<int>(ParseUint(*error.FindFact("http_status")).value_or(400))};
  }
  for (const Translation& translation : kTranslations) {
    if (translation.reason == error.reason()) {
      return {std::string(translation.code), error.message(), 400};
    }
  }
  if (error.code() == ErrorCode::kResourceExhausted) {
    return {"InsufficientCapacity", error.ToString(), 500};
  }
  return {"InternalError", error.ToString(), 500};
}

Result<std::string> Required(const QueryParameters& parameters, std::string_view name) {
  std::string value = parameters.Get(name);
  if (value.empty()) {
    return Refuse("MissingParameter",
                  fmt::format("The request must contain the parameter {}", name));
  }
  return value;
}

Result<std::uint64_t> Number(const QueryParameters& parameters, std::string_view name,
                             std::uint64_t fallback) {
  const std::string* text = parameters.Find(name);
  if (text == nullptr) return fallback;
  const auto number = ParseUint(*text);
  if (!number) {
    return Refuse("InvalidParameterValue",
                  fmt::format("Value ({}) for parameter {} is invalid.", *text, name));
  }
  return *number;
}

Result<bool> Flag(const QueryParameters& parameters, std::string_view name, bool fallback) {
  const std::string* text = parameters.Find(name);
  if (text == nullptr) return fallback;
  if (*text == "false") return false;
  if (*text == "true") return true;
  return Refuse("InvalidParameterValue",
                fmt::format("Value ({}) for parameter {} is invalid.", *text, name));
}

std::string TokenParameters(const QueryParameters& parameters) {
  std::string all;
  for (const auto& [name, value] : parameters.all()) {
    if (name == "ClientToken" || name == "DryRun" || name.starts_with("X-Amz-")) continue;
    // With its length: no value can look like the next parameter.
    all += fmt::format("{}={}:{}\n", name, value.size(), value);
  }
  return all;
}

Result<std::string> ClientToken(const QueryParameters& parameters) {
  std::string token = parameters.Get("ClientToken");
  const bool ascii =
      std::all_of(token.begin(), token.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (token.size() > kTokenMax || !ascii) {
    return Refuse("InvalidParameterValue",
                  "The client token has more than 64 characters, or others than ASCII");
  }
  return token;
}

std::string_view Word(bool value) { return value ? "true" : "false"; }

std::string Time(std::int64_t seconds) {
  std::string time = FormatTime(WallTime(std::chrono::seconds(seconds)));
  if (time.ends_with('Z')) time.insert(time.size() - 1, ".000");
  return time;
}

void WriteTags(const vm::TagMap& tags, text::XmlWriter& reply) {
  if (tags.empty()) return;
  reply.Open("tagSet");
  for (const auto& [key, value] : tags) {
    reply.Open("item").Element("key", key).Element("value", value).Close();
  }
  reply.Close();
}

Result<void> CheckTags(const vm::TagMap& tags) {
  for (const auto& [key, value] : tags) {
    if (key.empty() || key.size() > kTagKeyMax || value.size() > kTagValueMax) {
      return Refuse("InvalidParameterValue",
                    fmt::format("Tag key '{}' or its value has a length that is not allowed",
                                key.substr(0, kTagKeyMax)));
    }
    if (key.starts_with("aws:")) {
      return Refuse("InvalidParameterValue",
                    fmt::format("Tag keys starting with 'aws:' are reserved: '{}'", key));
    }
  }
  return {};
}

Result<vm::TagMap> SpecifiedTags(const QueryParameters& parameters, std::string_view resource_type,
                                 std::initializer_list<std::string_view> other) {
  vm::TagMap tags;
  for (const std::uint64_t index : parameters.Indices("TagSpecification")) {
    const std::string type = parameters.Member("TagSpecification", index, "ResourceType");
    if (std::find(other.begin(), other.end(), type) != other.end()) continue;
    if (type != resource_type) {
      return Refuse(
          "InvalidParameterValue",
          fmt::format("'{}' is not a valid taggable resource type for this operation.", type));
    }
    const std::string list = fmt::format("TagSpecification.{}.Tag", index);
    for (const std::uint64_t tag : parameters.Indices(list)) {
      tags.insert_or_assign(parameters.Member(list, tag, "Key"),
                            parameters.Member(list, tag, "Value"));
    }
  }
  VMFERRY_RETURN_IF_ERROR(CheckTags(tags));
  return tags;
}

std::string DefaultVpc(const Settings& settings) { return DefaultId("vpc-", settings); }
std::string DefaultSubnet(const Settings& settings) { return DefaultId("subnet-", settings); }
std::string DefaultGroup(const Settings& settings) { return DefaultId("sg-", settings); }

// First two letters, first of the direction, number.
std::string ZoneId(const Settings& settings) {
  const std::string& name = settings.region_name;
  const std::size_t dash = name.find('-');
  const std::size_t last = name.rfind('-');
  if (dash == name.npos || last == dash) return name + "-az1";
  return fmt::format("{}{}{}-az1", name.substr(0, 2), name.substr(dash + 1, 1),
                     name.substr(last + 1));
}

std::string Arn(const Settings& settings, std::string_view kind, std::string_view id) {
  return fmt::format("arn:aws:ec2:{}:{}:{}/{}", settings.region_name, settings.account_id, kind,
                     id);
}

Result<void> CheckZone(const QueryParameters& parameters, std::string_view name,
                       const Settings& settings) {
  const std::string zone = parameters.Get(name);
  if (zone.empty() || zone == settings.zone) return {};
  return Refuse("InvalidZone.NotFound", fmt::format("The zone '{}' does not exist.", zone));
}

Result<void> CheckNetwork(const std::string& subnet, const std::vector<std::string>& group_ids,
                          const std::vector<std::string>& group_names, const Settings& settings) {
  if (!subnet.empty() && subnet != DefaultSubnet(settings)) {
    return Refuse("InvalidSubnetID.NotFound",
                  fmt::format("The subnet ID '{}' does not exist", subnet));
  }
  for (const std::string& group : group_ids) {
    if (group == DefaultGroup(settings)) continue;
    return Refuse("InvalidGroup.NotFound",
                  fmt::format("The security group '{}' does not exist", group));
  }
  for (const std::string& group : group_names) {
    if (group == "default") continue;
    return Refuse("InvalidGroup.NotFound",
                  fmt::format("The security group '{}' does not exist in default VPC '{}'", group,
                              DefaultVpc(settings)));
  }
  return {};
}

}  // namespace vmferry::region::ec2
