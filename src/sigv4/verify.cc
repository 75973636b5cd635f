// SPDX-License-Identifier: Apache-2.0
#include "sigv4/verify.h"

#include <algorithm>

#include "base/units.h"
#include "sigv4/sign.h"

namespace vmferry::sigv4 {
namespace {

Error BadAuthorization(std::string message) {
  return Error(ErrorCode::kUnauthenticated, "sigv4.bad_authorization", std::move(message));
}

Error BadQuery(std::string message) {
  return Error(ErrorCode::kUnauthenticated, "sigv4.bad_query", std::move(message));
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool EqualsIgnoringCase(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) {
    return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
  });
}

std::string_view FindHeader(std::span<const Header> headers, std::string_view lower_name) {
  for (const auto& [name, value] : headers) {
    if (EqualsIgnoringCase(name, lower_name)) return Trim(value);
  }
  return {};
}

// "AKID/20150830/us-east-1/s3/aws4_request".
bool ReadCredential(std::string_view credential, Claim& claim) {
  const auto parts = Split(credential, '/');
  if (parts.size() != 5 || parts[4] != "aws4_request") return false;
  if (parts[0].empty() || parts[1].size() != 8 || parts[2].empty() || parts[3].empty()) {
    return false;
  }
  claim.access_key_id = parts[0];
  claim.scope = {.date = std::string(parts[1]),
                 .region = std::string(parts[2]),
                 .service = std::string(parts[3])};
  return true;
}

// "host;x-amz-date": lower-case names, in order, without repeats.
bool ReadSignedHeaders(std::string_view list, Claim& claim) {
  for (const std::string_view name : Split(list, ';')) {
    if (name.empty() || claim.signed_headers.size() == kMaxSignedHeaders) return false;
    std::string lower(name);
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      if (c <= ' ' || c == ':' || c == ',' || c > '~') return false;
    }
    claim.signed_headers.push_back(std::move(lower));
  }
  return std::is_sorted(claim.signed_headers.begin(), claim.signed_headers.end()) &&
         std::adjacent_find(claim.signed_headers.begin(), claim.signed_headers.end()) ==
             claim.signed_headers.end();
}

bool ReadSignature(std::string_view signature, Claim& claim) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (signature.size() != 64 || !std::all_of(signature.begin(), signature.end(), is_hex)) {
    return false;
  }
  claim.signature = signature;
  return true;
}

Result<void> ReadDate(std::string_view amz_date, Claim& claim) {
  const auto time = ParseAmzDate(amz_date);
  if (!time) {
    return Error(ErrorCode::kUnauthenticated, "sigv4.bad_date",
                 "the request's date is not of the form YYYYMMDDTHHMMSSZ");
  }
  claim.amz_date = amz_date;
  claim.time = *time;
  return {};
}

}  // namespace

bool Claim::Signs(std::string_view header) const {
  return std::find(signed_headers.begin(), signed_headers.end(), header) != signed_headers.end();
}

Result<Claim> ParseAuthorization(std::string_view authorization, std::string_view amz_date) {
  if (!authorization.starts_with(kAlgorithm) || authorization.size() == kAlgorithm.size() ||
      authorization[kAlgorithm.size()] != ' ') {
    return BadAuthorization("the Authorization header does not begin with AWS4-HMAC-SHA256");
  }
  Claim claim;
  bool credential = false, headers = false, signature = false;
  for (std::string_view part : Split(authorization.substr(kAlgorithm.size() + 1), ',')) {
    part = Trim(part);
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, equals);
    const std::string_view value =
        equals < part.size() ? part.substr(equals + 1) : std::string_view();
    if (name == "Credential" && !credential) {
      credential = true;
      if (!ReadCredential(value, claim)) return BadAuthorization("Credential is malformed");
    } else if (name == "SignedHeaders" && !headers) {
      headers = true;
      if (!ReadSignedHeaders(value, claim)) return BadAuthorization("SignedHeaders is malformed");
    } else if (name == "Signature" && !signature) {
      signature = true;
      if (!ReadSignature(value, claim)) return BadAuthorization("Signature is malformed");
    } else {
      return BadAuthorization("the Authorization header has an unknown or repeated part");
    }
  }
  if (!credential || !headers || !signature) {
    return BadAuthorization(
        "the Authorization header lacks Credential, SignedHeaders or Signature");
  }
  VMFERRY_RETURN_IF_ERROR(ReadDate(amz_date, claim));
  return claim;
}

Result<Claim> ParsePresignedQuery(std::string_view query) {
  struct Parameter {
    std::string_view name;
    bool seen = false;
    std::string value;
  };
  Parameter parameters[] = {{"X-Amz-Algorithm"},     {"X-Amz-Credential"}, {"X-Amz-Date"},
                            {"X-Amz-SignedHeaders"}, {"X-Amz-Expires"},    {"X-Amz-Signature"},
                            {"X-Amz-Security-Token"}};
  for (const std::string_view pair : Split(query, '&')) {
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string name = UriDecode(pair.substr(0, equals));
    for (Parameter& parameter : parameters) {
      if (name != parameter.name) continue;
      if (parameter.seen) return BadQuery(name + " is given twice");
      parameter.seen = true;
      parameter.value = UriDecode(equals < pair.size() ? pair.substr(equals + 1) : "");
    }
  }
  const auto& [algorithm, credential, date, headers, expires, signature, token] = parameters;
  for (const Parameter& parameter : parameters) {
    if (!parameter.seen && &parameter != &token) {
      return BadQuery(std::string(parameter.name) + " is missing");
    }
  }
  Claim claim;
  claim.query_form = true;
  claim.session_token = token.value;
  if (algorithm.value != kAlgorithm) return BadQuery("X-Amz-Algorithm is not AWS4-HMAC-SHA256");
  if (!ReadCredential(credential.value, claim)) return BadQuery("X-Amz-Credential is malformed");
  if (!ReadSignedHeaders(headers.value, claim)) return BadQuery("X-Amz-SignedHeaders is malformed");
  if (!ReadSignature(signature.value, claim)) return BadQuery("X-Amz-Signature is malformed");
  const auto seconds = ParseUint(expires.value);
  if (!seconds || *seconds < 1 || *seconds > static_cast<std::uint64_t>(kMaxExpires.count())) {
    return BadQuery("X-Amz-Expires is not a number of seconds from 1 to 604800");
  }
  claim.expires = std::chrono::seconds(*seconds);
  VMFERRY_RETURN_IF_ERROR(ReadDate(date.value, claim));
  return claim;
}

Result<Claim> ParseClaim(const RequestView& request) {
  const std::string_view authorization = FindHeader(request.headers, "authorization");
  if (!authorization.empty()) {
    std::string_view date = FindHeader(request.headers, "x-amz-date");
    if (date.empty()) date = FindHeader(request.headers, "date");
    VMFERRY_ASSIGN_OR_RETURN(Claim claim, ParseAuthorization(authorization, date));
    claim.session_token = FindHeader(request.headers, "x-amz-security-token");
    return claim;
  }
  if (request.query.find("X-Amz-Signature=") != std::string_view::npos ||
      request.query.find("X-Amz-Algorithm=") != std::string_view::npos) {
    return ParsePresignedQuery(request.query);
  }
  return Error(ErrorCode::kUnauthenticated, "sigv4.missing", "the request is not signed");
}

Computation ComputeSignature(const Claim& claim, const RequestView& request,
                             const Secret& secret_access_key, const Options& options) {
  std::vector<std::string_view> skip;
  if (claim.query_form) {
    skip.push_back("X-Amz-Signature");
    if (!options.sign_session_token) skip.push_back("X-Amz-Security-Token");
  }
  Computation result;
  result.canonical_request = CanonicalRequest(request, claim.signed_headers, options, skip);
  result.string_to_sign = StringToSign(claim.amz_date, claim.scope, result.canonical_request);
  result.signature = Sign(SigningKey(secret_access_key, claim.scope), result.string_to_sign);
  return result;
}

bool ConstantTimeEquals(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(
        difference | (static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i])));
  }
  return difference == 0;
}

}  // namespace vmferry::sigv4
