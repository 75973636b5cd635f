// SPDX-License-Identifier: Apache-2.0
//
// make_esx_disk KIND RAW FOLDER: writes a raw disk as ESX keeps it, with a descriptor
// FOLDER/disk.vmdk. KIND is vmfsSparse or seSparse: what qemu-img reads and cannot write. For
// end-to-end tests.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/zero.h"
#include "sys/file.h"
#include "testing/esx_extent_builder.h"

namespace {

using vmferry::Result;

/// The grains of the disk that are not zero, by index.
template <typename Builder>
Result<void> FillGrains(Builder& builder, const vmferry::sys::File& raw, std::uint64_t size_bytes,
                        std::uint64_t grain_bytes) {
  std::vector<std::byte> grain(grain_bytes);
  for (std::uint64_t at = 0; at < size_bytes; at += grain_bytes) {
    const auto part = std::span(grain).first(std::min(grain_bytes, size_bytes - at));
    std::fill(grain.begin(), grain.end(), std::byte{0});
    VMFERRY_RETURN_IF_ERROR(raw.ReadAt(at, part));
    if (!vmferry::codec::IsZero(part)) builder.grains[at / grain_bytes] = grain;
  }
  return {};
}

Result<void> Make(const std::string& kind, const std::string& raw_path, const std::string& folder) {
  VMFERRY_ASSIGN_OR_RETURN(const vmferry::sys::File raw,
                           vmferry::sys::File::Open(raw_path, vmferry::sys::File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, raw.Size());
  const std::uint64_t sectors = size_bytes / vmferry::kSectorBytes;
  vmferry::testing::DescriptorText descriptor = {.create_type = kind};
  std::vector<std::byte> extent;
  if (kind == "vmfsSparse") {
    vmferry::testing::CowBuilder builder;
    builder.capacity_sectors = static_cast<std::uint32_t>(sectors);
    VMFERRY_RETURN_IF_ERROR(
        FillGrains(builder, raw, size_bytes, builder.grain_sectors * vmferry::kSectorBytes));
    extent = builder.Build();
    descriptor.extents = {fmt::format("RW {} VMFSSPARSE \"disk-delta.vmdk\"", sectors)};
  } else {
    vmferry::testing::SeSparseBuilder builder;
    builder.capacity_sectors = sectors;
    VMFERRY_RETURN_IF_ERROR(FillGrains(builder, raw, size_bytes, 4 * vmferry::kKiB));
    extent = builder.Build();
    descriptor.extents = {fmt::format("RW {} SESPARSE \"disk-delta.vmdk\"", sectors)};
  }
  VMFERRY_RETURN_IF_ERROR(
      vmferry::sys::WriteWholeFile(folder + "/disk-delta.vmdk", vmferry::AsText(extent)));
  return vmferry::sys::WriteWholeFile(folder + "/disk.vmdk", descriptor.Text());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string kind = argc == 4 ? argv[1] : "";
  if (kind != "vmfsSparse" && kind != "seSparse") {
    std::fprintf(stderr, "usage: make_esx_disk vmfsSparse|seSparse RAW FOLDER\n");
    return 2;
  }
  const auto made = Make(kind, argv[2], argv[3]);
  if (made) return 0;
  std::fprintf(stderr, "%s\n", made.error().ToString().c_str());
  return 1;
}
