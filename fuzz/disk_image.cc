// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as a disk of whatever format it is, and reads from it.

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "base/units.h"
#include "image/open.h"

namespace {

using vmferry::image::DiskImage;
using vmferry::image::Extent;
using vmferry::image::ExtentKind;

/// The extents of a window cover it exactly and tell the truth about zeros.
void CheckWindow(const DiskImage& disk, std::uint64_t offset, std::uint64_t length) {
  const auto extents = disk.Extents(offset, length);
  if (!extents) return;
  std::uint64_t at = offset;
  for (const Extent& extent : *extents) {
    VMFERRY_CHECK(extent.offset_bytes == at && extent.length_bytes > 0);
    at += extent.length_bytes;
    std::vector<std::byte> bytes(std::min<std::uint64_t>(extent.length_bytes, 3 * 4096 + 5));
    const bool read = disk.Read(extent.offset_bytes, bytes).has_value();
    if (extent.kind == ExtentKind::kData) continue;
    VMFERRY_CHECK(read);
    VMFERRY_CHECK(std::all_of(bytes.begin(), bytes.end(),
                              [](std::byte byte) { return byte == std::byte{0}; }));
  }
  VMFERRY_CHECK(at == offset + length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto disk = image::OpenDiskSource(
      image::MakeMemorySource(std::vector<std::byte>(bytes.begin(), bytes.end())), "disk.raw");
  if (!disk) return 0;
  const std::uint64_t size_bytes = (*disk)->SizeBytes();
  const std::uint64_t window = std::min<std::uint64_t>(size_bytes, 4 * kMiB);
  CheckWindow(**disk, 0, window);
  CheckWindow(**disk, size_bytes - window, window);
  return 0;
}
