// SPDX-License-Identifier: Apache-2.0
//
// StsService: GetCallerIdentity, AssumeRole, GetSessionToken; everything else is refused by name.
//
// Thread safety: as Service asks.
// Source: AWS STS API reference, 2011-06-15.

#pragma once

#include <memory>

#include "region/core/context.h"
#include "region/core/credentials.h"
#include "region/core/query_protocol.h"
#include "region/core/role_store.h"
#include "region/core/service.h"

namespace vmferry::region::sts {

class StsService final : public Service {
 public:
  /// Reads the account's credentials, which must exist. The context outlives the service.
  static Result<std::unique_ptr<StsService>> Open(const Context& context);

  std::string_view Name() const override { return "sts"; }
  std::vector<std::string> Operations() const override {
    return {"GetCallerIdentity", "AssumeRole", "GetSessionToken"};
  }
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  /// Who makes a call.
  struct Caller {
    std::string arn;
    std::string user_id;
    std::string role_arn;  ///< when it is a session of a role
    bool session = false;
  };

  StsService(const Context& context, RegionCredentials account, std::unique_ptr<RoleStore> roles)
      : context_(context), account_(std::move(account)), roles_(std::move(roles)) {}

  Caller CallerOf(const Call& call) const;
  Answer GetCallerIdentity(const Call& call) const;
  Answer AssumeRole(const Call& call, const QueryParameters& parameters);
  Answer GetSessionToken(const Call& call, const QueryParameters& parameters);
  Answer Invalid(std::string_view value, std::string_view member, std::string_view constraint,
                 const Call& call) const;

  const Context& context_;
  const RegionCredentials account_;
  const std::unique_ptr<RoleStore> roles_;
};

}  // namespace vmferry::region::sts
