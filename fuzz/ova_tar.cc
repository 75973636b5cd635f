// SPDX-License-Identifier: Apache-2.0
//
// Opens the input as an OVA: archive, descriptor, manifest, and the disks inside.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/units.h"
#include "image/appliance.h"
#include "image/ova/member_name.h"
#include "image/ova/package.h"
#include "image/ova/tar.h"

namespace {

using vmferry::image::Appliance;
using vmferry::image::ApplianceFile;

void CheckInside(const ApplianceFile& file, std::size_t archive_bytes) {
  VMFERRY_CHECK(file.offset_bytes <= archive_bytes);
  VMFERRY_CHECK(file.size_bytes <= archive_bytes - file.offset_bytes);
  VMFERRY_CHECK(!file.name.empty() && file.name.front() != '/');
}

void Visit(const Appliance& appliance, std::size_t archive_bytes) {
  VMFERRY_CHECK(!appliance.disk_files.empty());
  VMFERRY_CHECK(appliance.disk_files.size() == appliance.vm.disks.size());
  for (const ApplianceFile& file : appliance.files) CheckInside(file, archive_bytes);
  for (std::size_t i = 0; i < appliance.disk_files.size(); ++i) {
    CheckInside(appliance.disk_files[i], archive_bytes);
    const auto disk = OpenApplianceDisk(appliance, i);
    if (!disk) continue;
    VMFERRY_CHECK((*disk)->Info().wire_format.empty());
    const std::size_t count = std::min<std::uint64_t>((*disk)->SizeBytes(), vmferry::kMiB);
    std::vector<std::byte> bytes(count);
    static_cast<void>((*disk)->Read(0, bytes).has_value());
  }
  static_cast<void>(CheckManifest(appliance).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmferry;
  const auto bytes = std::as_bytes(std::span(data, size));
  const std::shared_ptr<const image::ByteSource> source =
      image::MakeMemorySource(std::vector<std::byte>(bytes.begin(), bytes.end()));
  const auto index = image::ova::ReadTar(*source);
  if (!index) return 0;
  for (const image::ova::TarMember& member : index->members) {
    VMFERRY_CHECK(member.offset_bytes <= size && member.size_bytes <= size - member.offset_bytes);
    VMFERRY_CHECK(image::ova::NormalizeMemberName(member.name) == member.name);
  }
  const auto appliance = image::ova::OpenTar(source);
  if (appliance) Visit(*appliance, size);
  return 0;
}
