// SPDX-License-Identifier: Apache-2.0
#include "aws/sts/client.h"

#include "aws/core/error.h"
#include "aws/core/query.h"

namespace vmferry::aws::sts {

Result<CallerIdentity> Client::GetCallerIdentity(const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(
      const text::XmlElement root,
      CallQuery(caller_, Service::kSts, Query("GetCallerIdentity", "2011-06-15"), true, context));
  const text::XmlElement* result = root.Find("GetCallerIdentityResult");
  if (result == nullptr || result->TextAt("Account").empty()) {
    return BadResponse("GetCallerIdentity", "it names no account");
  }
  return CallerIdentity{.account = result->TextAt("Account"),
                        .arn = result->TextAt("Arn"),
                        .user_id = result->TextAt("UserId")};
}

}  // namespace vmferry::aws::sts
