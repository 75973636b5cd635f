// SPDX-License-Identifier: Apache-2.0
#include "region/import/appliance.h"

#include <algorithm>

#include "base/units.h"
#include "region/import/fetch.h"
#include "region/import/ovf.h"
#include "region/import/tar_members.h"
#include "sys/file.h"

namespace vmferry::region {
namespace {

constexpr std::uint64_t kOvfBytesMax = 4 * kMiB;

Error Unsupported() { return ClientError("Disk validation failed [Unsupported OVA format]"); }

// The gate's refusals in the words of the task.
Error AsTold(const Error& error) {
  return error.reason() == "region.upload_refused" ? ClientError(error.message()) : error;
}

bool EndsWith(std::string_view name, std::string_view suffix) {
  if (name.size() < suffix.size()) return false;
  const std::string_view end = name.substr(name.size() - suffix.size());
  return std::equal(end.begin(), end.end(), suffix.begin(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
}

Result<Ovf> ReadOvf(const sys::File& archive, const std::vector<TarMember>& members) {
  const TarMember* found = nullptr;
  for (const TarMember& member : members) {
    if (!EndsWith(member.name, ".ovf")) continue;
    if (found != nullptr) return Unsupported();
    found = &member;
  }
  if (found == nullptr || found->size_bytes > kOvfBytesMax) return Unsupported();
  std::string document(found->size_bytes, '\0');
  VMFERRY_RETURN_IF_ERROR(
      archive.ReadAt(found->offset_bytes, std::as_writable_bytes(std::span(document))));
  auto ovf = ParseOvf(document);
  if (!ovf) return AsTold(ovf.error());
  return ovf;
}

Result<void> Copy(const sys::File& archive, const TarMember& member,
                  const std::filesystem::path& target, const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(target));
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                           sys::File::Open(target, sys::File::Mode::kCreateNew));
  std::vector<std::byte> buffer(kMiB);
  for (std::uint64_t at = 0; at < member.size_bytes;) {
    if (op.stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "process.stopped", "the import was stopped");
    }
    const std::span<std::byte> piece =
        std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), member.size_bytes - at));
    VMFERRY_RETURN_IF_ERROR(archive.ReadAt(member.offset_bytes + at, piece));
    VMFERRY_RETURN_IF_ERROR(file.WriteAt(at, piece));
    at += piece.size();
  }
  return file.Sync();
}

}  // namespace

Result<Appliance> TakeApart(const std::filesystem::path& path, const std::filesystem::path& work,
                            const std::function<std::string(std::size_t)>& name,
                            const OpContext& op) {
  VMFERRY_ASSIGN_OR_RETURN(const sys::File archive, sys::File::Open(path, sys::File::Mode::kRead));
  const auto members = ReadTarMembers(archive);
  if (!members) return AsTold(members.error());
  VMFERRY_ASSIGN_OR_RETURN(const Ovf ovf, ReadOvf(archive, *members));
  Appliance appliance{.uefi = ovf.uefi};
  for (const std::string& disk : ovf.disk_files) {
    const auto member = std::find_if(members->begin(), members->end(),
                                     [&](const TarMember& other) { return other.name == disk; });
    if (member == members->end()) return Unsupported();
    ImageFormat format = ImageFormat::kVmdk;
    if (EndsWith(disk, ".vhd")) format = ImageFormat::kVhd;
    if (EndsWith(disk, ".vhdx")) format = ImageFormat::kVhdx;
    if (EndsWith(disk, ".raw") || EndsWith(disk, ".img")) format = ImageFormat::kRaw;
    VMFERRY_RETURN_IF_ERROR(Copy(archive, *member, work / name(appliance.disks.size()), op));
    appliance.disks.push_back({.format = format, .file_bytes = member->size_bytes});
  }
  return appliance;
}

}  // namespace vmferry::region
