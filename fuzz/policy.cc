// SPDX-License-Identifier: Apache-2.0
//
// Policy documents of IAM, session tokens and Host headers: what strangers write and the region
// reads before it believes them.
//
// Input: a document; it is read as each of the three.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "region/core/host_name.h"
#include "region/core/policy_document.h"
#include "region/core/session_token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  using namespace vmferry::region;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  PolicyQuestion question;
  question.service = "vmie.amazonaws.com";
  question.principal_arn = "arn:aws:iam::123456789012:user/u";
  question.action = "sts:AssumeRole";
  question.resource = "arn:aws:s3:::bucket/key";
  question.keys = {{"sts:ExternalId", "vmimport"}};
  for (const PolicyKind kind : {PolicyKind::kTrust, PolicyKind::kPermissions}) {
    const bool good = CheckPolicy(text, kind).has_value();
    const bool allows = PolicyAllows(text, kind, question);
    const bool denies = PolicyDenies(text, kind, question);
    VMFERRY_CHECK(good || (!allows && !denies));
    VMFERRY_CHECK(!(allows && denies));
  }
  // Nobody but the account itself makes a token that opens.
  VMFERRY_CHECK(!OpenSession({"123456789012", "AKIA", Secret("secret")}, text));
  const HostName host = ParseHost(text);
  VMFERRY_CHECK(host.bucket.empty() || host.service == "s3");
  MatchesWildcards(text.substr(0, size / 2), text.substr(size / 2));
  return 0;
}
