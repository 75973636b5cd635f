// SPDX-License-Identifier: Apache-2.0
//
// Policy documents of IAM: read, checked, and asked. As much of the language as roles need: Effect,
// Principal, Action, Resource, Condition with string and ARN operators.
//
// Thread safety: pure functions.
// Source: AWS IAM User Guide, "IAM JSON policy elements reference".

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "region/core/service.h"

namespace vmferry::region {

/// Who wants to do what. Names of condition keys compare without case: "sts:ExternalId" is
/// "sts:Externalid".
struct PolicyQuestion {
  std::string service;        ///< principal that is a service: "vmie.amazonaws.com"; else ""
  std::string principal_arn;  ///< principal of an account: "arn:aws:iam::123456789012:user/x"
  std::string action;         ///< "sts:AssumeRole"
  std::string resource;       ///< ARN; not looked at in trust policies
  std::vector<NameValue> keys;
};

enum class PolicyKind {
  kTrust,        ///< has principals, no resources
  kPermissions,  ///< has resources, no principals
};

/// Checks a document as IAM does when it is stored.
///
/// Errors: kInvalidArgument region.malformed_policy (IAM's words in the message); kUnimplemented
/// region.policy_not_modelled (valid for IAM, but the region cannot evaluate it; names what).
Result<void> CheckPolicy(std::string_view document, PolicyKind kind);

/// True when a statement allows it and none denies it. A document that CheckPolicy refuses allows
/// nothing.
bool PolicyAllows(std::string_view document, PolicyKind kind, const PolicyQuestion& question);
/// True when a statement denies it.
bool PolicyDenies(std::string_view document, PolicyKind kind, const PolicyQuestion& question);

/// `*` stands for any run of characters, `?` for one.
bool MatchesWildcards(std::string_view pattern, std::string_view text);

}  // namespace vmferry::region
