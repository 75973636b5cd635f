// SPDX-License-Identifier: Apache-2.0
#include "image/ova/package.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "image/ova/damage.h"
#include "image/ova/manifest.h"
#include "image/ova/member_name.h"
#include "image/ova/ovf.h"
#include "image/ova/tar.h"

namespace vmferry::image::ova {
namespace {

/// A file by its name; nullopt when there is none of that name.
using Finder = std::function<Result<std::optional<ApplianceFile>>(const std::string& name)>;

Result<std::string> ReadText(const ApplianceFile& file, std::uint64_t limit_bytes,
                             std::string_view reason) {
  if (file.size_bytes > limit_bytes) {
    return Damage(reason, fmt::format("'{}' has {} bytes, more than {}", Shown(file.name),
                                      file.size_bytes, limit_bytes));
  }
  std::string text(static_cast<std::size_t>(file.size_bytes), '\0');
  VMFERRY_RETURN_IF_ERROR(
      file.source->ReadAt(file.offset_bytes, std::as_writable_bytes(std::span(text))));
  return text;
}

/// The content behind a disk: by its name as written, else with its escapes decoded.
Result<ApplianceFile> FindDiskFile(const OvfFile& wanted, const Finder& find) {
  VMFERRY_ASSIGN_OR_RETURN(auto found, find(*NormalizeMemberName(wanted.href)));
  const auto decoded = DecodeUri(wanted.href);
  if (!found && decoded && *decoded != wanted.href) {
    VMFERRY_ASSIGN_OR_RETURN(found, find(*NormalizeMemberName(*decoded)));
  }
  if (found) return *std::move(found);
  return Damage("ova.missing_file",
                fmt::format("the appliance lacks the file '{}' of a disk", Shown(wanted.href)));
}

/// Puts files behind the disks and compares their sizes with what the descriptor says.
Result<void> AttachFiles(OvfDescriptor descriptor, const Finder& find, Appliance& appliance) {
  appliance.vm = std::move(descriptor.vm);
  std::move(descriptor.defects.begin(), descriptor.defects.end(),
            std::back_inserter(appliance.defects));
  for (const OvfFile& wanted : descriptor.disk_files) {
    VMFERRY_ASSIGN_OR_RETURN(ApplianceFile file, FindDiskFile(wanted, find));
    const bool twice =
        std::any_of(appliance.disk_files.begin(), appliance.disk_files.end(),
                    [&](const ApplianceFile& other) { return other.name == file.name; });
    if (twice) {
      return Damage("ova.ovf.shared_file",
                    fmt::format("two disks are the file '{}'", Shown(file.name)));
    }
    if (wanted.size_bytes && *wanted.size_bytes != file.size_bytes) {
      appliance.defects.push_back(fmt::format("file '{}' has {} bytes, the descriptor says {}",
                                              Shown(file.name), file.size_bytes,
                                              *wanted.size_bytes));
    }
    appliance.disk_files.push_back(std::move(file));
  }
  return {};
}

bool HasFile(const std::vector<ApplianceFile>& files, std::string_view name) {
  return std::any_of(files.begin(), files.end(),
                     [&](const ApplianceFile& file) { return file.name == name; });
}

Manifest ReadManifest(const ApplianceFile& file) {
  Manifest manifest;
  manifest.file = file.name;
  const auto text = ReadText(file, kMaxManifestBytes, "ova.manifest.too_long");
  if (!text) {
    manifest.problem = text.error();
    return manifest;
  }
  auto entries = ParseManifest(*text);
  if (entries) {
    manifest.entries = *std::move(entries);
  } else {
    manifest.problem = std::move(entries).error();
  }
  return manifest;
}

/// What can be said of the manifest without computing a digest.
void JudgeManifest(Appliance& appliance) {
  const Manifest& manifest = appliance.manifest;
  if (manifest.file.empty()) return;
  if (manifest.problem) {
    appliance.defects.push_back(
        fmt::format("the manifest cannot be used: {}", manifest.problem->message()));
    return;
  }
  for (const ManifestEntry& entry : manifest.entries) {
    if (HasFile(appliance.files, entry.file)) continue;
    appliance.defects.push_back(
        fmt::format("the manifest names '{}', which is not there", Shown(entry.file)));
  }
  const auto check_listed = [&](const std::string& name) {
    const bool listed = std::any_of(manifest.entries.begin(), manifest.entries.end(),
                                    [&](const ManifestEntry& entry) { return entry.file == name; });
    if (listed) return;
    appliance.defects.push_back(fmt::format("the manifest has no digest of '{}'", Shown(name)));
  };
  check_listed(appliance.descriptor);
  for (const ApplianceFile& file : appliance.disk_files) check_listed(file.name);
}

/// macOS's tar stores attributes beside files under such names.
bool IsAppleDouble(std::string_view name) { return BaseName(name).starts_with("._"); }

ApplianceFile FileOf(const TarMember& member, const std::shared_ptr<const ByteSource>& archive) {
  return {.name = member.name,
          .source = archive,
          .offset_bytes = member.offset_bytes,
          .size_bytes = member.size_bytes};
}

/// Archives made of a folder have it in front of every name. The descriptor means names beside it.
Result<void> StripFolder(TarIndex& index, std::string_view descriptor) {
  const std::string folder(
      descriptor.substr(0, descriptor.size() - BaseName(descriptor).size()));  // "" or "folder/"
  if (folder.empty()) return {};
  std::set<std::string> names;
  for (TarMember& member : index.members) {
    if (member.name.starts_with(folder)) member.name.erase(0, folder.size());
    if (!names.insert(member.name).second) {
      return Damage("ova.tar.duplicate",
                    fmt::format("two members of the archive may be '{}'", Shown(member.name)));
    }
  }
  return {};
}

/// DSP0243 2.1.1, "Distribution as a single file": the descriptor is the first file, and only one.
Result<std::size_t> FindDescriptor(const TarIndex& index) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < index.members.size(); ++i) {
    const std::string& name = index.members[i].name;
    if (!HasExtension(name, ".ovf") || IsAppleDouble(name)) continue;
    if (found) {
      return Damage("ova.several_descriptors",
                    fmt::format("the archive has two descriptors, '{}' and '{}'",
                                Shown(index.members[*found].name), Shown(name)));
    }
    found = i;
  }
  if (found) return *found;
  return Error(ErrorCode::kInvalidArgument, "ova.no_descriptor",
               "the file is a tar archive without an OVF descriptor: it is no OVA")
      .WithRemedy("unpack it (tar -xf FILE) and give the disk inside");
}

}  // namespace

Result<Appliance> OpenTar(std::shared_ptr<const ByteSource> archive) {
  VMFERRY_ASSIGN_OR_RETURN(TarIndex index, ReadTar(*archive));
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t first, FindDescriptor(index));
  VMFERRY_RETURN_IF_ERROR(StripFolder(index, std::string(index.members[first].name)));
  Appliance appliance;
  appliance.format = "ova";
  appliance.descriptor = index.members[first].name;
  appliance.defects = std::move(index.defects);
  if (first != 0) {
    appliance.defects.emplace_back("the descriptor is not the first file of the archive");
  }
  const auto by_name = [&](const std::string& name) -> Result<std::optional<ApplianceFile>> {
    const auto found = std::find_if(index.members.begin(), index.members.end(),
                                    [&](const TarMember& member) { return member.name == name; });
    if (found == index.members.end()) return std::optional<ApplianceFile>();
    return std::optional(FileOf(*found, archive));
  };
  VMFERRY_ASSIGN_OR_RETURN(const std::string text, ReadText(FileOf(index.members[first], archive),
                                                            kMaxOvfBytes, "ova.ovf.too_large"));
  VMFERRY_ASSIGN_OR_RETURN(OvfDescriptor descriptor, ParseOvf(text));
  VMFERRY_RETURN_IF_ERROR(AttachFiles(std::move(descriptor), by_name, appliance));
  for (const TarMember& member : index.members) {
    if (IsAppleDouble(member.name)) continue;
    if (HasExtension(member.name, ".mf") && appliance.manifest.file.empty()) {
      appliance.manifest = ReadManifest(FileOf(member, archive));
    } else if (HasExtension(member.name, ".cert")) {
      appliance.certificate = member.name;
    } else {
      appliance.files.push_back(FileOf(member, archive));
    }
  }
  JudgeManifest(appliance);
  return appliance;
}

Result<Appliance> OpenFolder(std::shared_ptr<const ByteSource> source, std::string_view name,
                             Companions& companions) {
  Appliance appliance;
  appliance.format = "ovf";
  appliance.descriptor = name;
  const ApplianceFile itself = {
      .name = appliance.descriptor, .source = source, .size_bytes = source->SizeBytes()};
  VMFERRY_ASSIGN_OR_RETURN(const std::string text,
                           ReadText(itself, kMaxOvfBytes, "ova.ovf.too_large"));
  VMFERRY_ASSIGN_OR_RETURN(OvfDescriptor descriptor, ParseOvf(text));
  const auto beside = [&](const std::string& wanted) -> Result<std::optional<ApplianceFile>> {
    auto opened = companions.OpenExtent(wanted);
    if (!opened) {
      if (opened.error().code() == ErrorCode::kNotFound) return std::optional<ApplianceFile>();
      return std::move(opened).error();
    }
    ApplianceFile file = {.name = wanted, .source = *std::move(opened)};
    file.size_bytes = file.source->SizeBytes();
    return std::optional(std::move(file));
  };
  VMFERRY_RETURN_IF_ERROR(AttachFiles(std::move(descriptor), beside, appliance));
  appliance.files.push_back(itself);
  for (const ApplianceFile& file : appliance.disk_files) appliance.files.push_back(file);
  // DSP0243 2.1.1, "File verification and authentication": manifest and certificate have the
  // descriptor's name. What cannot be opened is as good as absent: the disks are what was asked
  // for.
  const auto optional_file = [&](const std::string& wanted) -> std::optional<ApplianceFile> {
    if (!NormalizeMemberName(wanted)) return std::nullopt;
    auto file = beside(wanted);
    return file ? *std::move(file) : std::nullopt;
  };
  if (const auto file = optional_file(std::string(Stem(name)) + ".mf")) {
    appliance.manifest = ReadManifest(*file);
    for (const ManifestEntry& entry : appliance.manifest.entries) {
      if (HasFile(appliance.files, entry.file)) continue;
      if (auto other = optional_file(entry.file)) appliance.files.push_back(*std::move(other));
    }
  }
  if (const auto file = optional_file(std::string(Stem(name)) + ".cert")) {
    appliance.certificate = file->name;
  }
  JudgeManifest(appliance);
  return appliance;
}

}  // namespace vmferry::image::ova
