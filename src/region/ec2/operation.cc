// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/operation.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::size_t kTagKeyMax = 127;  // EC2, CreateTags
constexpr std::size_t kTagValueMax = 256;

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

Result<bool> Flag(const QueryParameters& parameters, std::string_view name) {
  const std::string* text = parameters.Find(name);
  if (text == nullptr || *text == "false") return false;
  if (*text == "true") return true;
  return Refuse("InvalidParameterValue",
                fmt::format("Value ({}) for parameter {} is invalid.", *text, name));
}

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

Result<vm::TagMap> SpecifiedTags(const QueryParameters& parameters,
                                 std::string_view resource_type) {
  vm::TagMap tags;
  for (const std::uint64_t index : parameters.Indices("TagSpecification")) {
    const std::string type = parameters.Member("TagSpecification", index, "ResourceType");
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

}  // namespace vmferry::region::ec2
