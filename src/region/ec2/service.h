// SPDX-License-Identifier: Apache-2.0
//
// Ec2Service: the EC2 Query API of the region.

#pragma once

#include "region/core/service.h"
#include "region/ec2/operation.h"

namespace vmferry::region::ec2 {

class Ec2Service final : public Service {
 public:
  /// What `world` refers to outlives it.
  explicit Ec2Service(const World& world) : world_(world) {}

  std::string_view Name() const override { return "ec2"; }
  std::vector<std::string> Operations() const override;
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  World world_;
};

/// The operation of that name, or nullptr.
const Operation* FindOperation(std::string_view action);

/// "Filter.1.Value.2" is "Filter.N.Value.N".
std::string GeneralName(std::string_view parameter);

}  // namespace vmferry::region::ec2
