// SPDX-License-Identifier: Apache-2.0
//
// Reads the text descriptor of a VMDK.

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"
#include "image/vmdk/descriptor.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto descriptor =
      image::vmdk::ParseDescriptor(AsText(std::as_bytes(std::span(data, size))));
  if (!descriptor) return 0;
  const bool accepted = image::vmdk::CheckEmbedded(*descriptor, 4096, 128).has_value();
  if (!accepted) return 0;
  // A descriptor that was accepted names one file, and none outside its folder.
  VMFERRY_CHECK(descriptor->extents.size() == 1);
  VMFERRY_CHECK(descriptor->extents.front().file_name.find('/') == std::string::npos);
  return 0;
}
