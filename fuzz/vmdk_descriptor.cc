// SPDX-License-Identifier: Apache-2.0
//
// Reads the text descriptor of a VMDK.

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"
#include "image/vmdk/descriptor.h"
#include "image/vmdk/header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  using namespace vmferry::image;
  const auto descriptor = vmdk::ParseDescriptor(AsText(std::as_bytes(std::span(data, size))));
  if (!descriptor) return 0;
  const auto parent = vmdk::HasParent(*descriptor);
  if (parent && *parent) {
    VMFERRY_CHECK(vmdk::NormalContentId(descriptor->parent_content_id).has_value());
  }
  if (vmdk::CheckEmbedded(*descriptor, 4096, 128)) {
    // A descriptor that was accepted names one file, and none outside its folder.
    VMFERRY_CHECK(descriptor->extents.size() == 1);
    VMFERRY_CHECK(descriptor->extents.front().file_name.find('/') == std::string::npos);
  }
  if (vmdk::CheckSeparate(*descriptor)) {
    const std::uint64_t sectors = vmdk::TotalSectors(*descriptor);
    VMFERRY_CHECK(sectors > 0 && sectors <= vmdk::kMaxCapacitySectors);
  }
  return 0;
}
