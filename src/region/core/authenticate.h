// SPDX-License-Identifier: Apache-2.0
//
// Who signed a request, and whether AWS would believe it: the rules around a SigV4 signature, and
// how each service words a refusal.
//
// Thread safety: pure functions.
// Source: Amazon S3 API reference, "Authenticating requests"; Amazon EC2 API reference, "Error
// codes", "Client error codes for all actions".

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/deadline.h"
#include "region/core/credentials.h"
#include "region/core/service.h"
#include "sigv4/verify.h"

namespace vmferry::region {

/// Why a request is not believed.
enum class AuthFault {
  kMissing,
  kMalformed,
  kUnknownKey,
  kWrongRegion,
  kWrongService,
  kSkewed,
  kNotYetValid,
  kExpired,
  kBadToken,      ///< the session token is not one of this region
  kExpiredToken,  ///< the session is over
  kHeadersNotSigned,
  kHashMissing,
  kWrongSignature,
};

/// A refusal in the words of one service.
struct Refusal {
  int status = 403;
  std::string code;
  std::string message;
  std::vector<NameValue> details;
};

struct AuthRules {
  std::string region_name;
  WallTime now;
  /// On the global endpoint of its service, which is signed for us-east-1 in any region.
  bool global_endpoint = false;
};

/// Finds the secret that a claim is to be checked with: the account's own, or that of the session
/// whose token came along. `signer` is what CheckSignature takes.
///
/// Shape: nothing when all is well.
std::optional<Refusal> FindSigner(const sigv4::Claim& claim, const RegionCredentials& account,
                                  const AuthRules& rules, RegionCredentials& signer);

/// Checks everything but key and signature: scope, time, what is signed.
///
/// Shape: nothing when all is well. `headers` have names in lower case.
std::optional<Refusal> CheckClaim(const sigv4::Claim& claim, const std::vector<NameValue>& headers,
                                  const AuthRules& rules);

/// Checks the signature. `payload_hash` is the hash that the signer used.
std::optional<Refusal> CheckSignature(const sigv4::Claim& claim, const sigv4::RequestView& request,
                                      const RegionCredentials& credentials);

/// The words of `service` for a fault.
Refusal RefusalFor(std::string_view service, AuthFault fault, std::string_view what = {});

/// How the service's requests are canonicalised.
sigv4::Options SigningOptionsFor(std::string_view service);

}  // namespace vmferry::region
