// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the client's reader of import manifests: whatever it accepts, it writes and reads back the
// same.

#include "transfer/import_manifest.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view document(reinterpret_cast<const char*>(data), size);
  const auto manifest = vmferry::transfer::ParseManifest(document);
  if (!manifest) return 0;
  const std::string written = vmferry::transfer::WriteManifest(*manifest);
  const auto again = vmferry::transfer::ParseManifest(written);
  VMFERRY_CHECK(again && vmferry::transfer::WriteManifest(*again) == written);
  return 0;
}
