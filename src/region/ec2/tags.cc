// SPDX-License-Identifier: Apache-2.0
//
// CreateTags, DeleteTags, DescribeTags.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"
#include "region/vm/key_pairs.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::size_t kResourcesMax = 1000;  // EC2, CreateTags

Result<void> CheckExists(World& world, const std::string& id) {
  if (id.starts_with("i-")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kInstanceIds, id));
    if (!world.instances.Find(id)) return NotFound(kInstanceIds, id);
    return {};
  }
  if (id.starts_with("vol-")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kVolumeIds, id));
    if (!world.disks.FindVolume(id)) return NotFound(kVolumeIds, id);
    return {};
  }
  if (id.starts_with("snap-")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kSnapshotIds, id));
    if (!world.disks.FindSnapshot(id)) return NotFound(kSnapshotIds, id);
    return {};
  }
  if (id.starts_with("ami-")) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kImageIds, id));
    if (!world.images.Find(id)) return NotFound(kImageIds, id);
    return {};
  }
  const Settings& settings = world.context.settings;
  if (id == DefaultVpc(settings) || id == DefaultSubnet(settings) || id == DefaultGroup(settings)) {
    return {};
  }
  if (id.starts_with("key-")) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::KeyPair> keys,
                             vm::KeyPairs::List(world.context.database));
    if (std::any_of(keys.begin(), keys.end(), [&](const auto& key) { return key.id == id; })) {
      return {};
    }
  }
  return Refuse("InvalidID", fmt::format("The ID '{}' is not valid", id));
}

Result<std::vector<std::string>> Resources(World& world, const QueryParameters& parameters) {
  std::vector<std::string> ids = parameters.List("ResourceId");
  if (ids.empty() || ids.size() > kResourcesMax) {
    return Refuse("MissingParameter",
                  "The request must contain between 1 and 1,000 of the parameter ResourceId");
  }
  for (const std::string& id : ids) VMFERRY_RETURN_IF_ERROR(CheckExists(world, id));
  return ids;
}

Result<void> CreateTags(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, Resources(world, parameters));
  vm::TagMap tags;
  for (const std::uint64_t index : parameters.Indices("Tag")) {
    tags.insert_or_assign(parameters.Member("Tag", index, "Key"),
                          parameters.Member("Tag", index, "Value"));
  }
  if (tags.empty()) {
    return Refuse("MissingParameter", "The request must contain the parameter Tag");
  }
  VMFERRY_RETURN_IF_ERROR(CheckTags(tags));
  VMFERRY_RETURN_IF_ERROR(world.disks.tags().Set(ids, tags));
  reply.Element("return", "true");
  return {};
}

Result<void> DeleteTags(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<std::string> ids, Resources(world, parameters));
  vm::Tags::Keys keys;
  for (const std::uint64_t index : parameters.Indices("Tag")) {
    const std::string* value = parameters.Find(fmt::format("Tag.{}.Value", index));
    keys.emplace_back(parameters.Member("Tag", index, "Key"),
                      value == nullptr ? std::nullopt : std::optional(*value));
  }
  VMFERRY_RETURN_IF_ERROR(world.disks.tags().Remove(ids, keys));
  reply.Element("return", "true");
  return {};
}

// EC2's word for what an id names.
std::string_view ResourceType(std::string_view id) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kTypes = {{
      {"i-", "instance"},
      {"vol-", "volume"},
      {"snap-", "snapshot"},
      {"ami-", "image"},
      {"key-", "key-pair"},
      {"vpc-", "vpc"},
      {"subnet-", "subnet"},
      {"sg-", "security-group"},
      {"import-ami-", "import-image-task"},
      {"import-snap-", "import-snapshot-task"},
  }};
  for (const auto& [prefix, type] : kTypes) {
    if (id.starts_with(prefix)) return type;
  }
  return "";
}

Result<void> DescribeTags(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, /*with_ids=*/false));
  const Filters filters = Filters::Parse(parameters);
  reply.Open("tagSet");
  for (const auto& [id, tags] : world.disks.tags().OfAll("")) {
    for (const auto& [key, value] : tags) {
      const auto values = [&](std::string_view name) -> std::optional<std::vector<std::string>> {
        if (name == "key") return {{key}};
        if (name == "value") return {{value}};
        if (name == "resource-id") return {{id}};
        if (name == "resource-type") return {{std::string(ResourceType(id))}};
        return std::nullopt;
      };
      VMFERRY_ASSIGN_OR_RETURN(const bool matches, filters.Match({{key, value}}, values));
      if (!matches || !page.Take(id + " " + key)) continue;
      reply.Open("item");
      reply.Element("resourceId", id)
          .Element("resourceType", ResourceType(id))
          .Element("key", key)
          .Element("value", value)
          .Close();
    }
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

constexpr std::array<std::string_view, 3> kParameters = {"ResourceId.N", "Tag.N.Key",
                                                         "Tag.N.Value"};
constexpr std::array<std::string_view, 4> kDescribeParameters = {
    "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"};
constexpr std::array kOperations = {
    Operation{"CreateTags", CreateTags, kParameters},
    Operation{"DeleteTags", DeleteTags, kParameters},
    Operation{"DescribeTags", DescribeTags, kDescribeParameters},
};

}  // namespace

std::span<const Operation> TagOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
