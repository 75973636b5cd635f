// SPDX-License-Identifier: Apache-2.0
//
// Reads JSON; what was read can be written and read again, with the same outcome.

#include "text/json.h"

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto value = text::Json::Parse(AsText(std::as_bytes(std::span(data, size))));
  if (!value) return 0;
  for (const bool pretty : {false, true}) {
    const std::string written = value->Dump(pretty);
    const auto again = text::Json::Parse(written);
    VMFERRY_CHECK(again.has_value());
    // Once more: a number like -0.0 is written as -0, which is read as the whole number 0.
    const std::string settled = again->Dump(pretty);
    const auto third = text::Json::Parse(settled);
    VMFERRY_CHECK(third.has_value());
    VMFERRY_CHECK(third->Dump(pretty) == settled);
  }
  return 0;
}
