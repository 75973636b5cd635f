// SPDX-License-Identifier: Apache-2.0
#include "region/core/authenticate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "region/core/session_token.h"

namespace vmferry::region {
namespace {

constexpr std::chrono::minutes kSkewMax{15};

/// One fault in the four dialects. An empty code means: as S3 says it.
struct Words {
  AuthFault fault;
  Refusal s3;
  Refusal ec2;
  Refusal sts;
  Refusal ebs;
};

// S3 and EC2 texts as published or recorded from AWS; those of EBS are of the common errors of
// JSON services.
const std::vector<Words>& AllWords() {
  static const std::vector<Words> words = {
      {AuthFault::kMissing,
       {403, "AccessDenied", "Access Denied", {}},
       {403, "MissingAuthenticationToken", "Request is missing Authentication Token", {}},
       {403, "MissingAuthenticationToken", "Request is missing Authentication Token", {}},
       {403, "MissingAuthenticationTokenException", "Missing Authentication Token", {}}},
      {AuthFault::kMalformed,
       {400,
        "AuthorizationHeaderMalformed",
        "The authorization header that you provided is not valid.",
        {}},
       {400, "IncompleteSignature", "The request signature does not conform to AWS standards.", {}},
       {400, "IncompleteSignature", "The request signature does not conform to AWS standards.", {}},
       {400,
        "IncompleteSignatureException",
        "The request signature does not conform to AWS standards.",
        {}}},
      {AuthFault::kUnknownKey,
       {403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        {}},
       {401, "AuthFailure", "AWS was not able to validate the provided access credentials", {}},
       {403, "InvalidClientTokenId", "The security token included in the request is invalid.", {}},
       {403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        {}}},
      {AuthFault::kWrongRegion,
       {400,
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; the region is wrong",
        {}},
       {401, "AuthFailure", "Credential should be scoped to a valid region.", {}},
       {403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region.", {}},
       {403, "InvalidSignatureException", "Credential should be scoped to a valid region.", {}}},
      {AuthFault::kWrongService,
       {400,
        "AuthorizationHeaderMalformed",
        "The authorization header is malformed; incorrect service. This endpoint belongs to "
        "\"s3\".",
        {}},
       {401, "AuthFailure", "Credential should be scoped to correct service: 'ec2'.", {}},
       {403, "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'.", {}},
       {403,
        "InvalidSignatureException",
        "Credential should be scoped to correct service: 'ebs'.",
        {}}},
      {AuthFault::kSkewed,
       {403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
        {}},
       {400, "RequestExpired", "Request has expired.", {}},
       {403, "SignatureDoesNotMatch", "Signature expired", {}},
       {403, "InvalidSignatureException", "Signature expired", {}}},
      {AuthFault::kNotYetValid,
       {403, "AccessDenied", "Request is not valid yet", {}},
       {400, "RequestExpired", "Request is not valid yet.", {}},
       {403, "SignatureDoesNotMatch", "Signature not yet current", {}},
       {403, "InvalidSignatureException", "Signature not yet current", {}}},
      {AuthFault::kExpired,
       {403, "AccessDenied", "Request has expired", {}},
       {400, "RequestExpired", "Request has expired.", {}},
       {403, "SignatureDoesNotMatch", "Signature expired", {}},
       {403, "InvalidSignatureException", "Signature expired", {}}},
      {AuthFault::kBadToken,
       {400, "InvalidToken", "The provided token is malformed or otherwise invalid.", {}},
       {401, "AuthFailure", "AWS was not able to validate the provided access credentials", {}},
       {403, "InvalidClientTokenId", "The security token included in the request is invalid.", {}},
       {403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
        {}}},
      {AuthFault::kExpiredToken,
       {400, "ExpiredToken", "The provided token has expired.", {}},
       {400, "RequestExpired", "Request has expired.", {}},
       {403, "ExpiredToken", "The security token included in the request is expired", {}},
       {403, "ExpiredTokenException", "The security token included in the request is expired", {}}},
      {AuthFault::kHeadersNotSigned,
       {403, "AccessDenied", "There were headers present in the request which were not signed", {}},
       {403,
        "SignatureDoesNotMatch",
        "'Host' must be a 'SignedHeader' in the AWS Authorization.",
        {}},
       {403,
        "SignatureDoesNotMatch",
        "'Host' must be a 'SignedHeader' in the AWS Authorization.",
        {}},
       {403,
        "InvalidSignatureException",
        "'Host' must be a 'SignedHeader' in the AWS Authorization.",
        {}}},
      {AuthFault::kHashMissing,
       {400,
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
        {}},
       {},
       {},
       {}},
      {AuthFault::kWrongSignature,
       {403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method.",
        {}},
       {401, "AuthFailure", "AWS was not able to validate the provided access credentials", {}},
       {403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your "
        "AWS Secret Access Key and signing method. Consult the service documentation for details.",
        {}},
       {403,
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your "
        "AWS Secret Access Key and signing method. Consult the service documentation for details.",
        {}}},
  };
  return words;
}

std::string SpacedHex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (!out.empty()) out.push_back(' ');
    out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  }
  return out;
}

std::optional<Refusal> CheckTime(const sigv4::Claim& claim, const AuthRules& rules) {
  const std::string& service = claim.scope.service;
  if (claim.time > rules.now + kSkewMax) {
    Refusal refusal =
        RefusalFor(service, claim.query_form ? AuthFault::kNotYetValid : AuthFault::kSkewed);
    return refusal;
  }
  if (!claim.query_form) {
    if (claim.time >= rules.now - kSkewMax) return std::nullopt;
    Refusal refusal = RefusalFor(service, AuthFault::kSkewed);
    refusal.details = {{"RequestTime", claim.amz_date},
                       {"ServerTime", FormatTime(rules.now)},
                       {"MaxAllowedSkewMilliseconds", "900000"}};
    return refusal;
  }
  if (rules.now <= claim.time + claim.expires) return std::nullopt;
  Refusal refusal = RefusalFor(service, AuthFault::kExpired);
  refusal.details = {{"X-Amz-Expires", std::to_string(claim.expires.count())},
                     {"Expires", FormatTime(claim.time + claim.expires)},
                     {"ServerTime", FormatTime(rules.now)}};
  return refusal;
}

std::optional<Refusal> CheckSignedHeaders(const sigv4::Claim& claim,
                                          const std::vector<NameValue>& headers) {
  std::string unsigned_names;
  if (!claim.Signs("host")) unsigned_names = "host";
  if (claim.scope.service == "s3") {
    for (const auto& [name, value] : headers) {
      if (!name.starts_with("x-amz-") || claim.Signs(name)) continue;
      // The hash of the body need not be signed in a pre-signed URL.
      if (claim.query_form && name == "x-amz-content-sha256") continue;
      if (!unsigned_names.empty()) unsigned_names += ", ";
      unsigned_names += name;
    }
  }
  if (unsigned_names.empty()) return std::nullopt;
  Refusal refusal = RefusalFor(claim.scope.service, AuthFault::kHeadersNotSigned);
  refusal.details = {{"HeadersNotSigned", unsigned_names}};
  return refusal;
}

}  // namespace

Refusal RefusalFor(std::string_view service, AuthFault fault, std::string_view what) {
  for (const Words& words : AllWords()) {
    if (words.fault != fault) continue;
    const Refusal& own = service == "ec2"                       ? words.ec2
                         : service == "sts" || service == "iam" ? words.sts
                         : service == "ebs"                     ? words.ebs
                                                                : words.s3;
    Refusal refusal = own.code.empty() ? words.s3 : own;
    if (!what.empty()) refusal.message += fmt::format(" ({})", what);
    return refusal;
  }
  return {403, "AccessDenied", "Access Denied", {}};
}

sigv4::Options SigningOptionsFor(std::string_view service) {
  return service == "s3" ? sigv4::S3Options() : sigv4::Options{};
}

std::optional<Refusal> FindSigner(const sigv4::Claim& claim, const RegionCredentials& account,
                                  const AuthRules& rules, RegionCredentials& signer) {
  const std::string& service = claim.scope.service;
  signer = account;
  const bool own = claim.access_key_id == account.access_key_id;
  if (own && claim.session_token.empty()) return std::nullopt;
  if (claim.session_token.empty()) {
    Refusal refusal = RefusalFor(service, AuthFault::kUnknownKey);
    refusal.details = {{"AWSAccessKeyId", claim.access_key_id}};
    return refusal;
  }
  const auto session = OpenSession(account, claim.session_token);
  if (!session || session->access_key_id != claim.access_key_id) {
    Refusal refusal = RefusalFor(service, AuthFault::kBadToken);
    if (service == "s3") refusal.details = {{"Token-0", claim.session_token}};
    return refusal;
  }
  if (session->expires <= rules.now) {
    Refusal refusal = RefusalFor(service, AuthFault::kExpiredToken);
    if (service == "s3") refusal.details = {{"Token-0", claim.session_token}};
    return refusal;
  }
  signer.access_key_id = session->access_key_id;
  signer.secret_access_key = session->secret_access_key;
  return std::nullopt;
}

std::optional<Refusal> CheckClaim(const sigv4::Claim& claim, const std::vector<NameValue>& headers,
                                  const AuthRules& rules) {
  const std::string& service = claim.scope.service;
  const bool global = rules.global_endpoint && claim.scope.region == "us-east-1";
  if (claim.scope.region != rules.region_name && !global) {
    Refusal refusal = RefusalFor(service, AuthFault::kWrongRegion);
    if (service == "s3") {
      refusal.message = fmt::format(
          "The authorization header is malformed; the region '{}' is wrong; expecting "
          "'{}'",
          claim.scope.region, rules.region_name);
      refusal.details = {{"Region", rules.region_name}};
    }
    return refusal;
  }
  if (claim.scope.date != std::string_view(claim.amz_date).substr(0, 8)) {
    return RefusalFor(service, AuthFault::kMalformed, "the dates of scope and request differ");
  }
  if (auto refusal = CheckTime(claim, rules)) return refusal;
  return CheckSignedHeaders(claim, headers);
}

std::optional<Refusal> CheckSignature(const sigv4::Claim& claim, const sigv4::RequestView& request,
                                      const RegionCredentials& credentials) {
  const std::string& service = claim.scope.service;
  const sigv4::Computation computed = sigv4::ComputeSignature(
      claim, request, credentials.secret_access_key, SigningOptionsFor(service));
  if (sigv4::ConstantTimeEquals(computed.signature, claim.signature)) return std::nullopt;
  Refusal refusal = RefusalFor(service, AuthFault::kWrongSignature);
  refusal.details = {{"AWSAccessKeyId", claim.access_key_id},
                     {"StringToSign", computed.string_to_sign},
                     {"SignatureProvided", claim.signature},
                     {"StringToSignBytes", SpacedHex(computed.string_to_sign)},
                     {"CanonicalRequest", computed.canonical_request},
                     {"CanonicalRequestBytes", SpacedHex(computed.canonical_request)}};
  return refusal;
}

}  // namespace vmferry::region
