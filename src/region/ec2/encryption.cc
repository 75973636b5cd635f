// SPDX-License-Identifier: Apache-2.0
//
// EnableEbsEncryptionByDefault, DisableEbsEncryptionByDefault, GetEbsEncryptionByDefault,
// GetEbsDefaultKmsKeyId: the account's setting. Keys other than the account's own are not modelled
// here (StartSnapshot takes any).
#include <array>

#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {
namespace {

Result<void> SetDefault(World& world, bool enabled, text::XmlWriter& reply) {
  VMFERRY_RETURN_IF_ERROR(world.disks.encryption().SetByDefault(enabled));
  reply.Element("ebsEncryptionByDefault", enabled ? "true" : "false");
  return {};
}

Result<void> Enable(World& world, const QueryParameters&, text::XmlWriter& reply) {
  return SetDefault(world, true, reply);
}

Result<void> Disable(World& world, const QueryParameters&, text::XmlWriter& reply) {
  return SetDefault(world, false, reply);
}

Result<void> Get(World& world, const QueryParameters&, text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const bool enabled, world.disks.encryption().ByDefault());
  reply.Element("ebsEncryptionByDefault", enabled ? "true" : "false");
  return {};
}

Result<void> GetKey(World&, const QueryParameters&, text::XmlWriter& reply) {
  reply.Element("kmsKeyId", "alias/aws/ebs");
  return {};
}

constexpr std::array kOperations = {
    Operation{"EnableEbsEncryptionByDefault", Enable, {}},
    Operation{"DisableEbsEncryptionByDefault", Disable, {}},
    Operation{"GetEbsEncryptionByDefault", Get, {}},
    Operation{"GetEbsDefaultKmsKeyId", GetKey, {}},
};

}  // namespace

std::span<const Operation> EncryptionOperations() { return kOperations; }

}  // namespace vmferry::region::ec2
