// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as a QCOW2 disk, and reads from it.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "image/companions.h"
#include "image/qcow2/qcow2_image.h"

namespace {

using vmferry::image::DiskImage;
using vmferry::image::Extent;
using vmferry::image::ExtentKind;

/// The extents of a window cover it exactly; what is no data reads as zeros; a read in two halves
/// is the read of the whole.
void CheckWindow(const DiskImage& disk, std::uint64_t offset, std::uint64_t length) {
  const auto extents = disk.Extents(offset, length);
  if (!extents) return;
  std::uint64_t at = offset;
  for (const Extent& extent : *extents) {
    VMFERRY_CHECK(extent.offset_bytes == at && extent.length_bytes > 0);
    at += extent.length_bytes;
    std::vector<std::byte> bytes(std::min<std::uint64_t>(extent.length_bytes, 3 * 4096 + 5));
    const bool read = disk.Read(extent.offset_bytes, bytes).has_value();
    if (extent.kind != ExtentKind::kData) {
      VMFERRY_CHECK(read && std::all_of(bytes.begin(), bytes.end(),
                                        [](std::byte byte) { return byte == std::byte{0}; }));
    }
    if (!read) continue;
    std::vector<std::byte> halves(bytes.size());
    const std::size_t half = bytes.size() / 2;
    VMFERRY_CHECK(disk.Read(extent.offset_bytes, std::span(halves).first(half)).has_value());
    VMFERRY_CHECK(
        disk.Read(extent.offset_bytes + half, std::span(halves).subspan(half)).has_value());
    VMFERRY_CHECK(halves == bytes);
  }
  VMFERRY_CHECK(at == offset + length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto disk = image::qcow2::Open(
      image::MakeMemorySource(std::vector<std::byte>(bytes.begin(), bytes.end())),
      image::NoCompanions());
  if (!disk) return 0;
  const std::uint64_t size_bytes = (*disk)->SizeBytes();
  const std::uint64_t window = std::min<std::uint64_t>(size_bytes, kMiB);
  CheckWindow(**disk, 0, window);
  CheckWindow(**disk, size_bytes - window, window);
  return 0;
}
