// SPDX-License-Identifier: Apache-2.0
#include "sigv4/sign.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace vmferry::sigv4 {
namespace {

constexpr std::array<std::string_view, 6> kNeverSigned = {
    "authorization", "connection", "expect", "user-agent", "x-amzn-trace-id", "transfer-encoding"};

std::vector<std::string> SignedNames(std::span<const Header> headers) {
  std::vector<std::string> names;
  for (const auto& [header, value] : headers) {
    std::string name = header;
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    if (std::find(kNeverSigned.begin(), kNeverSigned.end(), name) == kNeverSigned.end()) {
      names.push_back(std::move(name));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::string Join(std::span<const std::string> names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out.push_back(';');
    out.append(name);
  }
  return out;
}

Scope ScopeOf(const Signing& signing, std::string_view amz_date) {
  return {.date = std::string(amz_date.substr(0, 8)),
          .region = std::string(signing.region),
          .service = std::string(signing.service)};
}

}  // namespace

std::vector<Header> SignHeaders(const RequestView& request, const Credentials& credentials,
                                const Signing& signing) {
  const std::string amz_date = FormatAmzDate(signing.time);
  const Scope scope = ScopeOf(signing, amz_date);
  std::vector<Header> added = {{"X-Amz-Date", amz_date}};
  const Header token = {"X-Amz-Security-Token", std::string(credentials.session_token.Expose())};
  const bool has_token = !credentials.session_token.empty();
  if (has_token && signing.options.sign_session_token) added.push_back(token);
  if (signing.options.content_sha256_header) {
    added.emplace_back("x-amz-content-sha256", request.payload_hash);
  }

  std::vector<Header> all(request.headers.begin(), request.headers.end());
  all.insert(all.end(), added.begin(), added.end());
  const std::vector<std::string> names = SignedNames(all);
  RequestView complete = request;
  complete.headers = all;
  const std::string to_sign =
      StringToSign(amz_date, scope, CanonicalRequest(complete, names, signing.options));
  const std::string signature = Sign(SigningKey(credentials.secret_access_key, scope), to_sign);

  if (has_token && !signing.options.sign_session_token) added.push_back(token);
  // Appended piece by piece: g++ 12 sees an overrun in a chain of + that is not there.
  std::string authorization(kAlgorithm);
  authorization += " Credential=" + credentials.access_key_id + "/" + scope.ToString();
  authorization += ", SignedHeaders=" + Join(names);
  authorization += ", Signature=" + signature;
  added.emplace_back("Authorization", std::move(authorization));
  return added;
}

std::string Presign(const RequestView& request, const Credentials& credentials,
                    const Signing& signing, std::chrono::seconds expires) {
  VMFERRY_CHECK(expires.count() >= 1 && expires <= kMaxExpires);
  const std::string amz_date = FormatAmzDate(signing.time);
  const Scope scope = ScopeOf(signing, amz_date);
  const std::vector<std::string> names = SignedNames(request.headers);
  std::string query(request.query);
  const auto add = [&query](std::string_view name, std::string_view value) {
    if (!query.empty()) query.push_back('&');
    query.append(name).append("=").append(UriEncode(value));
  };
  add("X-Amz-Algorithm", kAlgorithm);
  add("X-Amz-Credential", credentials.access_key_id + "/" + scope.ToString());
  add("X-Amz-Date", amz_date);
  add("X-Amz-SignedHeaders", Join(names));
  add("X-Amz-Expires", std::to_string(expires.count()));
  const bool has_token = !credentials.session_token.empty();
  const auto add_token = [&] { add("X-Amz-Security-Token", credentials.session_token.Expose()); };
  if (has_token && signing.options.sign_session_token) add_token();

  RequestView complete = request;
  complete.query = query;
  const std::string to_sign =
      StringToSign(amz_date, scope, CanonicalRequest(complete, names, signing.options));
  const std::string signature = Sign(SigningKey(credentials.secret_access_key, scope), to_sign);
  if (has_token && !signing.options.sign_session_token) add_token();
  add("X-Amz-Signature", signature);
  return query;
}

}  // namespace vmferry::sigv4
