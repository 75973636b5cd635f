// SPDX-License-Identifier: Apache-2.0
//
// Reads the input as the address of an NBD export. What is taken names no file but the socket.

#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "image/nbd/uri.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry::image::nbd;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto uri = ParseUri(text);
  if (!uri) return 0;
  VMFERRY_CHECK(IsUri(text));
  const std::size_t question = uri->address.find('?');
  if (question != std::string::npos) {
    VMFERRY_CHECK(uri->address.starts_with("nbd+unix://"));
    VMFERRY_CHECK(uri->address.find_first_of("&;", question + 1) == std::string::npos);
  }
  return 0;
}
