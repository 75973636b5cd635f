// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as a VHD, its checksums made right, and reads from it; a differencing one gets a
// parent of 64 KiB.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "image/raw/raw_image.h"
#include "image/vhd/vhd_image.h"
#include "testing/vhd_builder.h"

namespace {

using namespace vmferry;

class OneParent final : public image::Companions {
 public:
  Result<std::unique_ptr<image::ByteSource>> OpenExtent(std::string_view,
                                                        image::NameStyle) override {
    return Error(ErrorCode::kNotFound, "image.chain.missing", "a VHD has no extents");
  }
  Result<image::ParentDisk> OpenParent(const image::ParentRequest& request) override {
    VMFERRY_CHECK(request.identity.size() == 32);
    VMFERRY_ASSIGN_OR_RETURN(
        auto parent, image::raw::Open(image::MakeMemorySource(std::vector<std::byte>(64 * kKiB))));
    return image::ParentDisk{.image = std::move(parent), .path = "parent.vhd"};
  }
};

/// Otherwise hardly any input would get past the checksums.
void RepairChecksums(std::vector<std::byte>& bytes) {
  if (bytes.size() < 512) return;
  testing::SumVhdFooter(bytes, 0);
  testing::SumVhdFooter(bytes, bytes.size() - 512);
  if (bytes.size() >= 2048) testing::SumVhdHeader(bytes, 512);
}

/// The extents of a window cover it exactly and tell the truth about zeros.
void CheckWindow(const image::DiskImage& disk, std::uint64_t offset, std::uint64_t length) {
  const auto extents = disk.Extents(offset, length);
  if (!extents) return;
  std::uint64_t at = offset;
  for (const image::Extent& extent : *extents) {
    VMFERRY_CHECK(extent.offset_bytes == at && extent.length_bytes > 0);
    at += extent.length_bytes;
    std::vector<std::byte> bytes(std::min<std::uint64_t>(extent.length_bytes, 3 * 4096 + 5));
    const bool read = disk.Read(extent.offset_bytes, bytes).has_value();
    if (extent.kind == image::ExtentKind::kData) continue;
    VMFERRY_CHECK(read);
    VMFERRY_CHECK(std::all_of(bytes.begin(), bytes.end(),
                              [](std::byte byte) { return byte == std::byte{0}; }));
  }
  VMFERRY_CHECK(at == offset + length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  std::vector<std::byte> bytes(input.begin(), input.end());
  RepairChecksums(bytes);
  OneParent companions;
  const auto disk = image::vhd::Open(image::MakeMemorySource(std::move(bytes)), companions);
  if (!disk) return 0;
  const std::uint64_t size_bytes = (*disk)->SizeBytes();
  const std::uint64_t window = std::min<std::uint64_t>(size_bytes, 4 * kMiB);
  CheckWindow(**disk, 0, window);
  CheckWindow(**disk, size_bytes - window, window);
  return 0;
}
