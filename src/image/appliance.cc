// SPDX-License-Identifier: Apache-2.0
#include "image/appliance.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/units.h"
#include "codec/text_codec.h"
#include "image/probe.h"

namespace vmferry::image {
namespace {

constexpr std::size_t kReadBytes = kMiB;

/// The disk inside, with what the appliance has to say about it.
class InsideImage final : public DiskImage {
 public:
  InsideImage(std::unique_ptr<DiskImage> inside, DiskImageInfo info)
      : inside_(std::move(inside)), info_(std::move(info)) {}

  std::uint64_t SizeBytes() const override { return inside_->SizeBytes(); }
  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override {
    return inside_->Read(offset_bytes, out);
  }
  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override {
    return inside_->Extents(offset_bytes, length_bytes);
  }
  const DiskImageInfo& Info() const override { return info_; }

 private:
  const std::unique_ptr<DiskImage> inside_;
  const DiskImageInfo info_;
};

std::string DescribeMachine(const VmDescription& vm) {
  std::string text = vm.name.empty() ? "without a name" : vm.name;
  if (vm.cpu_count > 0) text += fmt::format(", {} CPUs", vm.cpu_count);
  if (vm.memory_bytes > 0) text += fmt::format(", {} memory", FormatSize(vm.memory_bytes));
  return text + fmt::format(", firmware {}", FirmwareName(vm.firmware));
}

std::string DescribePlace(const VmDisk& disk) {
  std::string text(DiskControllerName(disk.controller));
  if (disk.unit) text += fmt::format(" {}:{}", disk.controller_address.value_or(0), *disk.unit);
  if (!disk.controller_type.empty()) text += fmt::format(" ({})", disk.controller_type);
  return text;
}

std::string DescribeManifest(const Manifest& manifest) {
  if (manifest.file.empty()) return "none";
  if (manifest.problem) return fmt::format("{}, which cannot be used", manifest.file);
  return fmt::format("{} with {} digests, not checked on opening", manifest.file,
                     manifest.entries.size());
}

DiskImageInfo InfoInside(DiskImageInfo info, const Appliance& appliance, std::size_t index) {
  const VmDisk& disk = appliance.vm.disks[index];
  info.wire_format.clear();
  info.details.emplace_back(
      "inside",
      fmt::format("{} as '{}', disk {} of {}", appliance.format == "ova" ? "OVA" : "OVF",
                  appliance.disk_files[index].name, index + 1, appliance.vm.disks.size()));
  info.details.emplace_back("virtual machine", DescribeMachine(appliance.vm));
  if (disk.controller != DiskController::kNotSaid) {
    info.details.emplace_back("attached to", DescribePlace(disk));
  }
  info.details.emplace_back("manifest", DescribeManifest(appliance.manifest));
  if (!appliance.certificate.empty()) {
    info.details.emplace_back("certificate",
                              fmt::format("{}, not verified", appliance.certificate));
  }
  info.defects.insert(info.defects.end(), appliance.defects.begin(), appliance.defects.end());
  if (disk.capacity_bytes != 0 && disk.capacity_bytes != info.virtual_size_bytes) {
    info.defects.push_back(
        fmt::format("the descriptor gives the disk a capacity of {} bytes, its image has {}",
                    disk.capacity_bytes, info.virtual_size_bytes));
  }
  return info;
}

/// Reads a file once for all digests of it that are wanted.
class DigestRun {
 public:
  DigestRun(const ManifestProgress& progress, std::uint64_t total_bytes)
      : progress_(progress), total_bytes_(total_bytes), buffer_(kReadBytes) {}

  Result<std::string> Run(const ApplianceFile& file, codec::DigestKind kind) {
    codec::Digester digester(kind);
    for (std::uint64_t at = 0; at < file.size_bytes;) {
      const auto step =
          static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), file.size_bytes - at));
      const std::span<std::byte> piece = std::span(buffer_).first(step);
      VMFERRY_RETURN_IF_ERROR(file.source->ReadAt(file.offset_bytes + at, piece));
      digester.Update(piece);
      at += step;
      done_bytes_ += step;
      if (progress_) VMFERRY_RETURN_IF_ERROR(progress_(done_bytes_, total_bytes_));
    }
    std::array<std::byte, codec::kMaxDigestBytes> digest;
    return codec::HexEncode(digester.Finish(digest));
  }

 private:
  const ManifestProgress& progress_;
  const std::uint64_t total_bytes_;
  std::uint64_t done_bytes_ = 0;
  std::vector<std::byte> buffer_;
};

const ApplianceFile* FindFile(const Appliance& appliance, std::string_view name) {
  for (const ApplianceFile& file : appliance.files) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

}  // namespace

std::string_view FirmwareName(Firmware firmware) {
  switch (firmware) {
    case Firmware::kNotSaid:
      return "not said";
    case Firmware::kBios:
      return "BIOS";
    case Firmware::kUefi:
      return "UEFI";
  }
  return "";
}

std::string_view DiskControllerName(DiskController controller) {
  switch (controller) {
    case DiskController::kNotSaid:
      return "not said";
    case DiskController::kIde:
      return "IDE";
    case DiskController::kScsi:
      return "SCSI";
    case DiskController::kSata:
      return "SATA";
    case DiskController::kNvme:
      return "NVMe";
    case DiskController::kVirtio:
      return "virtio";
    case DiskController::kUsb:
      return "USB";
  }
  return "";
}

std::string_view DigestName(codec::DigestKind kind) {
  switch (kind) {
    case codec::DigestKind::kSha256:
      return "SHA-256";
    case codec::DigestKind::kSha1:
      return "SHA-1";
    case codec::DigestKind::kMd5:
      return "MD5";
    case codec::DigestKind::kSha512:
      return "SHA-512";
  }
  return "";
}

Result<std::unique_ptr<DiskImage>> OpenApplianceDisk(const Appliance& appliance,
                                                     std::size_t index) {
  VMFERRY_CHECK(index < appliance.disk_files.size());
  const ApplianceFile& file = appliance.disk_files[index];
  auto slice = MakeSliceSource(file.source, file.offset_bytes, file.size_bytes);
  VMFERRY_ASSIGN_OR_RETURN(const Format format, Probe(*slice));
  if (format == Format::kTar || format == Format::kOvf) {
    return Error(ErrorCode::kUnimplemented, "ova.nested",
                 fmt::format("the disk '{}' of the appliance is an appliance itself", file.name))
        .WithRemedy("unpack the outer appliance and give the inner one by itself");
  }
  VMFERRY_ASSIGN_OR_RETURN(auto inside, OpenDiskSource(std::move(slice), file.name));
  DiskImageInfo info = InfoInside(inside->Info(), appliance, index);
  return std::unique_ptr<DiskImage>(
      std::make_unique<InsideImage>(std::move(inside), std::move(info)));
}

Result<std::vector<DigestCheck>> CheckManifest(const Appliance& appliance,
                                               const ManifestProgress& progress) {
  const Manifest& manifest = appliance.manifest;
  if (manifest.problem) return *manifest.problem;
  if (manifest.file.empty()) {
    return Error(ErrorCode::kNotFound, "ova.manifest.missing",
                 "the appliance has no manifest to check its files against")
        .WithRemedy("export it again with a manifest, or go on without the check");
  }
  std::uint64_t total_bytes = 0;
  for (const ManifestEntry& entry : manifest.entries) {
    const ApplianceFile* file = FindFile(appliance, entry.file);
    if (file != nullptr) total_bytes = CheckedAdd(total_bytes, file->size_bytes).value_or(~0ULL);
  }
  DigestRun run(progress, total_bytes);
  std::vector<DigestCheck> checks;
  for (const ManifestEntry& entry : manifest.entries) {
    DigestCheck check;
    check.expected = entry;
    const ApplianceFile* file = FindFile(appliance, entry.file);
    check.present = file != nullptr;
    if (file != nullptr) {
      VMFERRY_ASSIGN_OR_RETURN(check.found, run.Run(*file, entry.kind));
    }
    checks.push_back(std::move(check));
  }
  return checks;
}

Result<std::vector<DigestCheck>> VerifyManifest(const Appliance& appliance,
                                                const ManifestProgress& progress) {
  VMFERRY_ASSIGN_OR_RETURN(std::vector<DigestCheck> checks, CheckManifest(appliance, progress));
  for (const DigestCheck& check : checks) {
    if (check.holds()) continue;
    const ManifestEntry& expected = check.expected;
    return Error(ErrorCode::kDataLoss, "ova.manifest.mismatch",
                 check.present
                     ? fmt::format("the {} of '{}' is {}, the manifest says {}",
                                   DigestName(expected.kind), expected.file, check.found,
                                   expected.digest)
                     : fmt::format("the manifest names '{}', which is not there", expected.file))
        .With("path", expected.file)
        .With("digest", DigestName(expected.kind))
        .With("expected", expected.digest)
        .With("found", check.found)
        .WithRemedy(
            "the file was changed after the export or damaged on its way: fetch the "
            "appliance again");
  }
  return checks;
}

}  // namespace vmferry::image
