// SPDX-License-Identifier: Apache-2.0
//
// sts::Client: who the credentials belong to.
//
// Thread safety: all methods may be called from any number of threads.
// Source: AWS Security Token Service API reference, version 2011-06-15.

#pragma once

#include <string>

#include "aws/core/caller.h"

namespace vmferry::aws::sts {

struct CallerIdentity {
  std::string account;
  std::string arn;
  std::string user_id;
};

class Client {
 public:
  /// `caller` must outlive the client.
  explicit Client(Caller& caller) : caller_(caller) {}

  /// Needs no permission: the check that credentials work.
  ///
  /// Request:  none. Response: GetCallerIdentityResult/{Account, Arn, UserId}.
  /// Errors:   those of Caller::Call.
  Result<CallerIdentity> GetCallerIdentity(const OpContext& context);

 private:
  Caller& caller_;
};

}  // namespace vmferry::aws::sts
