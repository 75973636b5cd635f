// SPDX-License-Identifier: Apache-2.0
//
// StsService: GetCallerIdentity; everything else is refused by name.
//
// Thread safety: as Service asks.
// Source: AWS STS API reference, 2011-06-15.

#pragma once

#include "region/core/context.h"
#include "region/core/service.h"

namespace vmferry::region::sts {

class StsService final : public Service {
 public:
  /// The context outlives the service.
  explicit StsService(const Context& context) : context_(context) {}

  std::string_view Name() const override { return "sts"; }
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  const Context& context_;
};

}  // namespace vmferry::region::sts
