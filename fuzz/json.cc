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
    VMFERRY_CHECK(again->Dump(pretty) == written);
  }
  return 0;
}
