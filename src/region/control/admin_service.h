// SPDX-License-Identifier: Apache-2.0
//
// AdminService: what `vmferry region` asks of a running region, signed like any request, with the
// service name "vmferry". Not part of AWS.
//
// Wire: POST / with {"action": NAME, "parameters": {...}}; the answer is the action's JSON, or
// {"code", "reason", "message", "remedy"} with status 400.
//
// Actions: AddFault, ListFaults, ClearFaults, Operations (what each service carries out), Status,
// and those of Parts::AdminActions.
//
// Thread safety: as Service asks.

#pragma once

#include <map>
#include <string>

#include "region/control/parts.h"

namespace vmferry::region::control {

class AdminService final : public Service {
 public:
  /// The context outlives the service.
  AdminService(const Context& context, std::map<std::string, AdminAction> actions);

  std::string_view Name() const override { return "vmferry"; }
  /// Empty: faults do not hit what removes them.
  std::string OperationOf(const Call&) const override { return {}; }
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  std::map<std::string, AdminAction> actions_;
};

text::Json JsonOf(const FaultRule& rule);
/// Errors: kInvalidArgument region.bad_fault.
Result<FaultRule> FaultRuleOf(const text::Json& json);

/// An Error as JSON and back; what was a cause becomes part of the message.
text::Json JsonOf(const Error& error);
Error ErrorOf(const text::Json& json);

}  // namespace vmferry::region::control
