// SPDX-License-Identifier: Apache-2.0
//
// Reads the input as an OVF descriptor, and writes what was understood again.

#include "image/ova/ovf.h"

#include <cstdint>
#include <span>

#include "base/byte_reader.h"
#include "base/check.h"
#include "image/ova/manifest.h"
#include "image/ova/member_name.h"
#include "image/ova/ovf_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const std::string_view text = AsText(std::as_bytes(std::span(data, size)));
  static_cast<void>(image::ova::ParseManifest(text).has_value());
  const auto descriptor = image::ova::ParseOvf(text);
  if (!descriptor) return 0;
  VMFERRY_CHECK(!descriptor->vm.disks.empty());
  VMFERRY_CHECK(descriptor->vm.disks.size() == descriptor->disk_files.size());
  for (const image::ova::OvfFile& file : descriptor->disk_files) {
    VMFERRY_CHECK(image::ova::NormalizeMemberName(file.href).has_value());
  }
  const std::string written =
      image::ova::WriteOvf(descriptor->vm, {.file = "d.vmdk", .capacity_bytes = 512});
  const auto again = image::ova::ParseOvf(written);
  VMFERRY_CHECK(again.has_value());
  VMFERRY_CHECK(again->vm.firmware == descriptor->vm.firmware);
  return 0;
}
