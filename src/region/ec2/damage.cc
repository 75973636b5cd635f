// SPDX-License-Identifier: Apache-2.0
//
// VmferryCorruptVolume: not an AWS operation. It flips one byte of an idle volume, so that tests
// and demonstrations can show that verification finds it. Signed like everything else.
#include <array>

#include "region/ec2/filters.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

Result<void> CorruptVolume(World& world, const QueryParameters& parameters,
                           text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, OneId(parameters, kVolumeIds));
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::string given,
                           Required(parameters, "Offset"));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t offset, Number(parameters, "Offset", 0));
  if (!world.disks.FindVolume(id)) return NotFound(kVolumeIds, id);
  VMFERRY_RETURN_IF_ERROR(world.disks.FlipByte(id, offset));
  reply.Element("return", "true");
  return {};
}

constexpr std::array<std::string_view, 2> kParameters = {"VolumeId", "Offset"};
constexpr std::array kOperations = {Operation{"VmferryCorruptVolume", CorruptVolume, kParameters}};

}  // namespace

std::span<const Operation> FaultOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
