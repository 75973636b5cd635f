// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as a VMDK of two files and reads from it: up to the first NUL it is the
// descriptor, behind it what every extent holds that the descriptor names. Its parent is a zero
// disk.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "image/companions.h"
#include "image/layer.h"
#include "image/vmdk/extent_layer.h"
#include "image/vmdk/vmdk_image.h"

namespace {

using namespace vmferry;
using namespace vmferry::image;
using Bytes = std::vector<std::byte>;

class TwoFiles final : public Companions {
 public:
  explicit TwoFiles(std::span<const std::byte> extent) : extent_(extent) {}

  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view, NameStyle) override {
    return MakeMemorySource(Bytes(extent_.begin(), extent_.end()));
  }
  Result<ParentDisk> OpenParent(const ParentRequest& request) override {
    return ParentDisk{
        .image = MakeLayeredImage(vmdk::MakeZeroLayer(kMiB), std::nullopt,
                                  DiskImageInfo{.format = "vmdk", .identity = request.identity}),
        .path = "parent"};
  }

 private:
  const std::span<const std::byte> extent_;
};

/// The extents of a window cover it exactly and tell the truth about zeros.
void CheckWindow(const DiskImage& disk, std::uint64_t offset, std::uint64_t length) {
  const auto extents = disk.Extents(offset, length);
  if (!extents) return;
  std::uint64_t at = offset;
  for (const Extent& extent : *extents) {
    VMFERRY_CHECK(extent.offset_bytes == at && extent.length_bytes > 0);
    at += extent.length_bytes;
    Bytes bytes(std::min<std::uint64_t>(extent.length_bytes, 3 * 4096 + 5));
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
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto end = std::find(bytes.begin(), bytes.end(), std::byte{0});
  const auto length = static_cast<std::size_t>(end - bytes.begin());
  TwoFiles companions(bytes.subspan(std::min(length + 1, size)));
  const auto disk = vmdk::Open(MakeMemorySource(Bytes(bytes.begin(), end)), companions);
  if (!disk) return 0;
  const std::uint64_t size_bytes = (*disk)->SizeBytes();
  const std::uint64_t window = std::min<std::uint64_t>(size_bytes, kMiB);
  CheckWindow(**disk, 0, window);
  CheckWindow(**disk, size_bytes - window, window);
  return 0;
}
