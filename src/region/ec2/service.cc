// SPDX-License-Identifier: Apache-2.0
#include "region/ec2/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace vmferry::region::ec2 {
namespace {

constexpr std::array kGroups = {ConversionOperations,
                                ImportImageOperations,
                                ImportSnapshotOperations,
                                ImportTaskOperations,
                                ImageOperations,
                                RunOperations,
                                InstanceOperations,
                                InstanceAttributeOperations,
                                ConsoleOperations,
                                VolumeOperations,
                                AttachmentOperations,
                                SnapshotOperations,
                                TagOperations,
                                PlaceOperations,
                                NetworkOperations,
                                InstanceTypeOperations,
                                KeyPairOperations,
                                EncryptionOperations,
                                FaultOperations};

// Part of every request, or of its signature.
bool IsCommon(std::string_view name) {
  return name == "Action" || name == "Version" || name == "DryRun" || name.starts_with("X-Amz-");
}

Result<void> CheckParameters(const Operation& operation, const QueryParameters& parameters) {
  for (const auto& [name, value] : parameters.all()) {
    if (IsCommon(name)) continue;
    const std::string general = GeneralName(name);
    if (std::find(operation.parameters.begin(), operation.parameters.end(), general) ==
        operation.parameters.end()) {
      return Refuse("UnknownParameter",
                    fmt::format("The parameter {} of {} is not modelled by this region", name,
                                operation.action));
    }
  }
  return {};
}

Result<std::string> Run(World& world, const Operation& operation,
                        const QueryParameters& parameters) {
  VMFERRY_RETURN_IF_ERROR(CheckParameters(operation, parameters));
  VMFERRY_ASSIGN_OR_RETURN(const bool dry, Flag(parameters, "DryRun"));
  if (dry) {
    return Refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412);
  }
  text::XmlWriter reply(/*declaration=*/false);
  VMFERRY_RETURN_IF_ERROR(operation.handler(world, parameters, reply));
  return reply.Finish();
}

}  // namespace

const Operation* FindOperation(std::string_view action) {
  for (const auto group : kGroups) {
    for (const Operation& operation : group()) {
      if (operation.action == action) return &operation;
    }
  }
  return nullptr;
}

std::string GeneralName(std::string_view parameter) {
  std::string general;
  while (true) {
    const std::size_t dot = parameter.find('.');
    const std::string_view word = parameter.substr(0, dot);
    const bool number =
        !word.empty() && word.find_first_not_of("0123456789") == std::string_view::npos;
    general += number ? "N" : word;
    if (dot == parameter.npos) return general;
    general += '.';
    parameter.remove_prefix(dot + 1);
  }
}

std::vector<std::string> Ec2Service::Operations() const {
  std::vector<std::string> names;
  for (const auto group : kGroups) {
    for (const Operation& operation : group()) names.emplace_back(operation.action);
  }
  return names;
}

std::string Ec2Service::OperationOf(const Call& call) const {
  const auto parameters = QueryParameters::Parse(call);
  if (!parameters) return {};
  const Operation* operation = FindOperation(parameters->Action());
  return operation == nullptr ? std::string() : std::string(operation->action);
}

Answer Ec2Service::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call& call) const {
  return Ec2ErrorAnswer(status, code, message, call.request_id);
}

Answer Ec2Service::Handle(Call& call) {
  const auto parameters = QueryParameters::Parse(call);
  if (!parameters) {
    return ErrorAnswer(400, "MalformedQueryString", parameters.error().message(), call);
  }
  const std::string action = parameters->Action();
  if (action.empty()) {
    return ErrorAnswer(400, "MissingAction",
                       "The request is missing an action or a required parameter.", call);
  }
  const Operation* operation = FindOperation(action);
  if (operation == nullptr) {
    return ErrorAnswer(
        400, "InvalidAction",
        fmt::format("The action {} is not valid for this web service.", action.substr(0, 100)),
        call);
  }
  const Result<std::string> inner = Run(world_, *operation, *parameters);
  if (!inner) {
    const Refusal refusal = RefusalOf(inner.error());
    return ErrorAnswer(refusal.status, refusal.code, refusal.message, call);
  }
  return Ec2Answer(action, parameters->Version(), *inner, call.request_id);
}

}  // namespace vmferry::region::ec2
