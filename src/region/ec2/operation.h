// SPDX-License-Identifier: Apache-2.0
//
// Operation: one EC2 API action, and what all of them share: refusals, identifiers, replies.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "region/core/context.h"
#include "region/core/query_protocol.h"
#include "region/import/image_tasks.h"
#include "region/import/importer.h"
#include "region/vm/disks.h"
#include "region/vm/images.h"
#include "region/vm/instances.h"
#include "text/xml.h"

namespace vmferry::region::ec2 {

/// What operations work on. Everything outlives them.
struct World {
  Context& context;
  vm::Disks& disks;
  vm::Images& images;
  vm::Instances& instances;
  Importer& importer;
  ImageTasks& image_tasks;
};

/// Writes the reply's elements. Errors made by Refuse() carry EC2's code; others are translated.
using Handler = Result<void> (*)(World& world, const QueryParameters& parameters,
                                 text::XmlWriter& reply);

struct Operation {
  std::string_view action;
  Handler handler;
  /// Parameters it understands, numbers written as N: "Filter.N.Value.N". Others are refused by
  /// name: a parameter silently ignored would make a rehearsal differ from AWS.
  std::span<const std::string_view> parameters;
};

/// One table for each group, in the file of the group.
std::span<const Operation> ConversionOperations();
std::span<const Operation> ImportImageOperations();
std::span<const Operation> ImportSnapshotOperations();
std::span<const Operation> ImportTaskOperations();
std::span<const Operation> ImageOperations();
std::span<const Operation> RunOperations();
std::span<const Operation> InstanceOperations();
std::span<const Operation> InstanceAttributeOperations();
std::span<const Operation> ConsoleOperations();
std::span<const Operation> VolumeOperations();
std::span<const Operation> AttachmentOperations();
std::span<const Operation> SnapshotOperations();
std::span<const Operation> TagOperations();
std::span<const Operation> PlaceOperations();
std::span<const Operation> EncryptionOperations();
std::span<const Operation> NetworkOperations();
std::span<const Operation> InstanceTypeOperations();
std::span<const Operation> KeyPairOperations();
std::span<const Operation> FaultOperations();

/// An EC2 error with code, message and HTTP status.
Error Refuse(std::string_view code, std::string message, int status = 400);

struct Refusal {
  std::string code;
  std::string message;
  int status = 400;
};
/// EC2's code for any error of the region.
Refusal RefusalOf(const Error& error);

/// Errors: MissingParameter.
Result<std::string> Required(const QueryParameters& parameters, std::string_view name);
/// Absent: the fallback. Errors: InvalidParameterValue.
Result<std::uint64_t> Number(const QueryParameters& parameters, std::string_view name,
                             std::uint64_t fallback);
Result<bool> Flag(const QueryParameters& parameters, std::string_view name, bool fallback = false);
/// All that a client token stands for: every parameter but the token, DryRun and the signature.
std::string TokenParameters(const QueryParameters& parameters);
/// Errors: InvalidParameterValue (more than 64 characters, or not ASCII).
Result<std::string> ClientToken(const QueryParameters& parameters);

/// "true" or "false"
std::string_view Word(bool value);

/// "2026-01-02T03:04:05.000Z"
std::string Time(std::int64_t seconds);

/// <tagSet>, left out when there are no tags.
void WriteTags(const vm::TagMap& tags, text::XmlWriter& reply);
/// Tags of TagSpecification.N for `resource_type`; the request may carry those of `other` types
/// too. Errors: InvalidParameterValue.
Result<vm::TagMap> SpecifiedTags(const QueryParameters& parameters, std::string_view resource_type,
                                 std::initializer_list<std::string_view> other = {});
/// Errors: InvalidParameterValue, TagLimitExceeded.
Result<void> CheckTags(const vm::TagMap& tags);

/// Ids of the default network, made from the account's number.
std::string DefaultVpc(const Settings& settings);
std::string DefaultSubnet(const Settings& settings);
std::string DefaultGroup(const Settings& settings);

/// Facts of the one zone: "us-east-1a" is "use1-az1".
std::string ZoneId(const Settings& settings);
/// "arn:aws:ec2:REGION:ACCOUNT:KIND/ID"
std::string Arn(const Settings& settings, std::string_view kind, std::string_view id);
/// Errors: InvalidZone.NotFound.
Result<void> CheckZone(const QueryParameters& parameters, std::string_view name,
                       const Settings& settings);
/// Errors: InvalidSubnetID.NotFound, InvalidGroup.NotFound, for all but the defaults.
Result<void> CheckNetwork(const std::string& subnet, const std::vector<std::string>& group_ids,
                          const std::vector<std::string>& group_names, const Settings& settings);

}  // namespace vmferry::region::ec2
