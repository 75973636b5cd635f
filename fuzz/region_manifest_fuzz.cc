// SPDX-License-Identifier: Apache-2.0
//
// Import manifests as the import service reads them: no input may crash, hang or allocate without
// bound, and what is accepted covers the file without gaps.
// Corpus: the official samples; run: region_manifest_fuzz -max_len=65536 CORPUS
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "region/import/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view document(reinterpret_cast<const char*>(data), size);
  for (const bool strict : {false, true}) {
    const auto manifest = vmferry::region::ParseManifest(document, strict);
    if (!manifest) continue;
    std::uint64_t covered = 0;
    for (const auto& part : manifest->parts) {
      VMFERRY_CHECK(part.start_bytes == covered && part.length_bytes > 0);
      covered += part.length_bytes;
    }
    VMFERRY_CHECK(covered == manifest->size_bytes);
  }
  return 0;
}
