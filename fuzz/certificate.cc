// SPDX-License-Identifier: Apache-2.0
//
// Verifies an envelope, and reads the input as a payload as if its signature had been right.

#include "proof/certificate.h"

#include <cstdint>

#include "base/byte_reader.h"
#include "base/check.h"

namespace {

// The public key of RFC 8032, section 7.1, test 1.
constexpr std::string_view kPublicKey =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "-----END PUBLIC KEY-----\n";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const std::string_view text = AsText(std::as_bytes(std::span(data, size)));
  // Nobody can sign for that key here: whatever verifies is a fault.
  VMFERRY_CHECK(!proof::Verify(text, kPublicKey).has_value());
  static_cast<void>(proof::KeyId(text));
  const auto certificate = proof::ParsePayload(text);
  if (!certificate) return 0;
  // What was read can be written and read again. Text that is not UTF-8 does not get this far.
  const auto again = proof::ParsePayload(proof::BuildPayload(*certificate));
  VMFERRY_CHECK(again.has_value() && *again == *certificate);
  return 0;
}
