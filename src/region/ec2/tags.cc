// SPDX-License-Identifier: Apache-2.0
//
// CreateTags.
#include <fmt/format.h>

#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

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
  return Refuse("InvalidID", fmt::format("The ID '{}' is not valid", id));
}

Result<void> CreateTags(World& world, const QueryParameters& parameters, text::XmlWriter& reply) {
  const std::vector<std::string> ids = parameters.List("ResourceId");
  if (ids.empty() || ids.size() > kResourcesMax) {
    return Refuse("MissingParameter",
                  "The request must contain between 1 and 1,000 of the parameter ResourceId");
  }
  vm::TagMap tags;
  for (const std::uint64_t index : parameters.Indices("Tag")) {
    tags.insert_or_assign(parameters.Member("Tag", index, "Key"),
                          parameters.Member("Tag", index, "Value"));
  }
  if (tags.empty()) {
    return Refuse("MissingParameter", "The request must contain the parameter Tag");
  }
  VMFERRY_RETURN_IF_ERROR(CheckTags(tags));
  for (const std::string& id : ids) VMFERRY_RETURN_IF_ERROR(CheckExists(world, id));
  VMFERRY_RETURN_IF_ERROR(world.disks.tags().Set(ids, tags));
  reply.Element("return", "true");
  return {};
}

constexpr std::array<std::string_view, 3> kParameters = {"ResourceId.N", "Tag.N.Key",
                                                         "Tag.N.Value"};
constexpr std::array kOperations = {Operation{"CreateTags", CreateTags, kParameters}};

}  // namespace

std::span<const Operation> TagOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
