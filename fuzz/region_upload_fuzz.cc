// SPDX-License-Identifier: Apache-2.0
//
// What the import service looks at before any other program does: headers of uploaded disks, tar
// and OVF of an OVA, partition tables. No input may crash, hang or allocate without bound, and what
// is found lies inside the file.
//
// The first byte chooses the reader. For VHDX the rest is the region table and, behind 64 KiB or at
// half of it, the metadata table, put where the format has them.
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/units.h"
#include "region/import/ovf.h"
#include "region/import/partitions.h"
#include "region/import/tar_members.h"
#include "region/import/upload_gate.h"

namespace {

using namespace vmferry;

sys::File Held(std::string_view content, std::uint64_t size_bytes = 0) {
  sys::File file = sys::File::FromDescriptor(::memfd_create("upload", MFD_CLOEXEC), "upload");
  VMFERRY_CHECK(file.WriteAt(0, AsBytes(content)).has_value());
  if (size_bytes != 0) VMFERRY_CHECK(file.Truncate(size_bytes).has_value());
  return file;
}

void Vhdx(std::string_view rest) {
  constexpr std::uint64_t kTable = 64 * kKiB;
  const sys::File file = Held("vhdxfile", 2 * kMiB);
  const std::string_view regions = rest.substr(0, std::min(rest.size() / 2, kTable));
  const std::string_view metadata = rest.substr(regions.size()).substr(0, kTable);
  for (const std::uint64_t at : {192 * kKiB, 256 * kKiB}) {
    VMFERRY_CHECK(file.WriteAt(at, AsBytes(regions)).has_value());
  }
  VMFERRY_CHECK(file.WriteAt(kMiB, AsBytes(metadata)).has_value());
  static_cast<void>(region::CheckUpload(file, region::ImageFormat::kVhdx));
}

void Tar(const sys::File& file, std::uint64_t size_bytes) {
  const auto members = region::ReadTarMembers(file);
  if (!members) return;
  for (const auto& member : *members) {
    VMFERRY_CHECK(member.offset_bytes <= size_bytes &&
                  member.size_bytes <= size_bytes - member.offset_bytes);
    VMFERRY_CHECK(!member.name.empty() && member.name.find('/') == std::string::npos);
  }
}

void Partitions(const sys::File& file, std::uint64_t size_bytes) {
  const auto table = region::ReadPartitions(file);
  if (!table) return;
  for (const auto& partition : table->partitions) {
    VMFERRY_CHECK(partition.start_bytes < size_bytes &&
                  partition.length_bytes <= size_bytes - partition.start_bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 6) {
    case 0:
      Tar(Held(rest), rest.size());
      break;
    case 1:
      static_cast<void>(region::ParseOvf(rest));
      break;
    case 2:
      static_cast<void>(region::CheckUpload(Held(rest), region::ImageFormat::kVmdk));
      break;
    case 3:
      static_cast<void>(region::CheckUpload(Held(rest), region::ImageFormat::kVhd));
      break;
    case 4:
      Vhdx(rest);
      break;
    default:
      Partitions(Held(rest), rest.size());
      break;
  }
  return 0;
}
