// SPDX-License-Identifier: Apache-2.0
#include "image/open.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "image/appliance.h"
#include "image/chain_path.h"
#include "image/companions.h"
#include "image/in_use.h"
#include "image/nbd/nbd_image.h"
#include "image/nbd/uri.h"
#include "image/ova/package.h"
#include "image/probe.h"
#include "image/qcow2/qcow2_image.h"
#include "image/raw/raw_image.h"
#include "image/vhd/vhd_image.h"
#include "image/vhdx/vhdx_image.h"
#include "image/vmdk/vmdk_image.h"
#include "sys/file.h"

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kRawExtensions = {"", ".raw", ".img", ".bin", ".dd"};
/// Extensions that promise a format.
constexpr std::array<std::string_view, 12> kFormatExtensions = {
    ".vmdk", ".vhd", ".avhd", ".vhdx", ".avhdx", ".qcow2",
    ".qcow", ".ova", ".ovf",  ".vdi",  ".qed",   ".vpc"};

std::string LowerExtension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

template <std::size_t N>
bool Contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

Error UnsupportedFormat(Format format) {
  Error error(ErrorCode::kUnimplemented, "image.unsupported_format",
              fmt::format("the file is in {} format, which is not read yet", FormatName(format)));
  switch (format) {
    case Format::kCompressed:
      return std::move(error).WithRemedy("decompress it first and give the disk inside");
    case Format::kUnknown:
    case Format::kVmdkSparse:
    case Format::kVmdkDescriptor:
    case Format::kVmdkCow:
    case Format::kQcow2:
    case Format::kVhd:
    case Format::kVhdx:
    case Format::kVdi:
    case Format::kQed:
    case Format::kParallels:
    case Format::kTar:
    case Format::kOvf:
      break;
  }
  return std::move(error).WithRemedy(
      "convert it first: qemu-img convert -O vmdk -o subformat=streamOptimized SOURCE NEW.vmdk");
}

/// May content without a signature be taken for a raw disk under this name?
Result<void> CheckRawName(const fs::path& name) {
  const std::string extension = LowerExtension(name);
  if (Contains(kRawExtensions, extension)) return {};
  if (Contains(kFormatExtensions, extension)) {
    return Error(ErrorCode::kInvalidArgument, "image.extension_mismatch",
                 fmt::format("the file is called {} but does not hold a disk image of that format",
                             name.filename().string()))
        .WithRemedy(
            "check that it is the right file and was copied completely; if it is a raw "
            "disk, give it the extension .raw");
  }
  return Error(ErrorCode::kInvalidArgument, "image.unknown_format",
               fmt::format("the content of {} is not a disk image format that is known",
                           name.filename().string()))
      .WithRemedy("if it is a raw disk, give it the extension .raw");
}

Result<Appliance> OpenPackage(std::unique_ptr<ByteSource> source, Format format,
                              const fs::path& name, Companions& companions) {
  if (format == Format::kTar) return ova::OpenTar(std::move(source));
  return ova::OpenFolder(std::move(source), name.filename().string(), companions);
}

/// Opens the disk `wanted` (from 1) of an appliance, or its only one.
Result<std::unique_ptr<DiskImage>> OpenWantedDisk(const Appliance& appliance,
                                                  std::optional<std::uint32_t> wanted) {
  const std::size_t count = appliance.disk_files.size();
  if (wanted && *wanted >= 1 && *wanted <= count) return OpenApplianceDisk(appliance, *wanted - 1);
  if (!wanted && count == 1) return OpenApplianceDisk(appliance, 0);
  std::string names;
  for (std::size_t i = 0; i < count; ++i) {
    names += fmt::format("{}{}: {}", i == 0 ? "" : ", ", i + 1, appliance.disk_files[i].name);
  }
  if (wanted) {
    return Error(ErrorCode::kInvalidArgument, "ova.no_such_disk",
                 fmt::format("the appliance has no disk {}, but {}", *wanted, names))
        .WithRemedy("choose one of these with --disk N");
  }
  return Error(ErrorCode::kInvalidArgument, "ova.several_disks",
               fmt::format("the appliance has {} disks: {}", count, names))
      .WithRemedy("choose one with --disk N");
}

/// `trusted_raw`: whatever has no signature is a raw disk, by whatever name.
Result<std::unique_ptr<DiskImage>> OpenByFormat(std::unique_ptr<ByteSource> source, Format format,
                                                bool trusted_raw, const fs::path& name,
                                                Companions& companions,
                                                std::optional<std::uint32_t> disk = {}) {
  switch (format) {
    case Format::kVmdkSparse:
    case Format::kVmdkDescriptor:
    case Format::kVmdkCow:
      return vmdk::Open(std::move(source), companions);
    case Format::kUnknown:
      if (source->SizeBytes() > 0 && !trusted_raw) VMFERRY_RETURN_IF_ERROR(CheckRawName(name));
      return raw::Open(std::move(source));
    case Format::kQcow2:
      return qcow2::Open(std::move(source), companions);
    case Format::kVhd:
      return vhd::Open(std::move(source), companions);
    case Format::kVhdx:
      return vhdx::Open(std::move(source), companions);
    case Format::kVdi:
    case Format::kQed:
    case Format::kParallels:
    case Format::kCompressed:
      break;
    case Format::kTar:
    case Format::kOvf: {
      VMFERRY_ASSIGN_OR_RETURN(const Appliance appliance,
                               OpenPackage(std::move(source), format, name, companions));
      return OpenWantedDisk(appliance, disk);
    }
  }
  return UnsupportedFormat(format);
}

Result<std::unique_ptr<DiskImage>> ProbeAndOpen(std::unique_ptr<ByteSource> source,
                                                bool trusted_raw, const fs::path& name,
                                                Companions& companions,
                                                std::optional<std::uint32_t> disk = {}) {
  VMFERRY_ASSIGN_OR_RETURN(const Format format, Probe(*source));
  if (disk.value_or(1) != 1 && format != Format::kTar && format != Format::kOvf) {
    return Error(ErrorCode::kInvalidArgument, "image.no_such_disk",
                 fmt::format("there is no disk {}: the file is no appliance but one disk", *disk))
        .With("path", name.string())
        .WithRemedy("leave --disk out");
  }
  auto image = OpenByFormat(std::move(source), format, trusted_raw, name, companions, disk);
  if (image || image.error().FindFact("path") != nullptr) return image;
  return std::move(image).error().With("path", name.string());
}

/// A file opened for reading that is a regular file or a block device and not being written to.
struct OpenedFile {
  std::unique_ptr<ByteSource> source;
  sys::FileIdentity identity;
  bool is_block_device = false;
  /// Where the file that was opened lies, every link followed; empty where /proc does not tell.
  fs::path real_path;
};

Result<OpenedFile> OpenFile(const fs::path& path, const OpenOptions& options) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (fs::is_fifo(status) || fs::is_socket(status) || fs::is_character_file(status)) {
    return Error(ErrorCode::kInvalidArgument, "image.not_a_file",
                 fmt::format("{} is neither a file nor a block device", path.string()))
        .With("path", path.string())
        .WithRemedy("save what it delivers to a file first");
  }
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(path, sys::File::Mode::kRead));
  if (!options.allow_running) {
    VMFERRY_ASSIGN_OR_RETURN(const auto writer, FindWriter(file));
    if (writer) {
      return Error(ErrorCode::kFailedPrecondition, "image.in_use",
                   fmt::format("{} is in use by {}", path.string(), *writer))
          .With("path", path.string())
          .WithRemedy(
              "shut the virtual machine down, or give --allow-running when you know that "
              "nothing writes to the disk");
    }
  }
  OpenedFile opened;
  opened.is_block_device = fs::is_block_file(status);
  VMFERRY_ASSIGN_OR_RETURN(opened.identity, file.Identity());
  opened.real_path = fs::read_symlink(fmt::format("/proc/self/fd/{}", file.descriptor()), failure);
  VMFERRY_ASSIGN_OR_RETURN(opened.source, MakeFileSource(std::move(file)));
  return opened;
}

Error NotAnAppliance(const std::string& location) {
  return Error(ErrorCode::kInvalidArgument, "image.not_an_appliance",
               fmt::format("{} is neither an OVA nor an OVF", location))
      .With("path", location);
}

/// The chain of one disk while it is opened: what may be opened, and what was.
class Chain {
 public:
  Chain(const OpenOptions& options, std::vector<fs::path> roots)
      : options_(options), roots_(std::move(roots)) {}

  /// Opens the disk in `path`, which was resolved or is the user's own.
  Result<std::unique_ptr<DiskImage>> Open(const fs::path& path, FileRole role,
                                          std::optional<Format> declared);

  /// Opens the OVA or OVF in `path`, which is the user's own.
  Result<Appliance> OpenWholeAppliance(const fs::path& path);

  /// Opens the file that `name` leads to from `folder`, as a part of the disk.
  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view name, NameStyle style,
                                                 const fs::path& folder) {
    VMFERRY_ASSIGN_OR_RETURN(const fs::path path, PathOfName(name, style));
    VMFERRY_ASSIGN_OR_RETURN(const fs::path resolved, ResolveInside(path, folder, roots_));
    VMFERRY_ASSIGN_OR_RETURN(OpenedFile opened, OpenInside(resolved));
    files_.push_back({resolved.string(), FileRole::kExtent, opened.identity});
    return std::move(opened.source);
  }

  Result<ParentDisk> OpenParent(const ParentRequest& request, const fs::path& folder);

  std::vector<DiskFile> TakeFiles() { return std::move(files_); }

 private:
  /// Opens a resolved path, and makes sure that it is still what was resolved.
  Result<OpenedFile> OpenInside(const fs::path& resolved) {
    VMFERRY_ASSIGN_OR_RETURN(OpenedFile opened, OpenFile(resolved, options_));
    std::error_code failure;
    if (opened.real_path.empty()) opened.real_path = fs::canonical(resolved, failure);
    if (opened.real_path == resolved) return opened;
    return Error(ErrorCode::kPermissionDenied, "image.chain.outside",
                 fmt::format("{} was replaced while it was opened", resolved.string()))
        .With("path", resolved.string());
  }

  /// The files that the parent's names lead to, each once, the best first; one at least.
  Result<std::vector<fs::path>> FindParents(const ParentRequest& request,
                                            const fs::path& folder) const;

  const OpenOptions& options_;
  const std::vector<fs::path> roots_;
  std::vector<DiskFile> files_;
  /// From the disk that was asked for down to the one being opened.
  std::vector<sys::FileIdentity> open_;
  /// Parents that were opened and were others than the one that is meant.
  std::size_t mistaken_ = 0;
};

class FileCompanions final : public Companions {
 public:
  FileCompanions(Chain& chain, fs::path folder) : chain_(chain), folder_(std::move(folder)) {}

  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view name, NameStyle style) override {
    return chain_.OpenExtent(name, style, folder_);
  }
  Result<ParentDisk> OpenParent(const ParentRequest& request) override {
    return chain_.OpenParent(request, folder_);
  }

 private:
  Chain& chain_;
  const fs::path folder_;
};

Result<std::unique_ptr<DiskImage>> Chain::Open(const fs::path& path, FileRole role,
                                               std::optional<Format> declared) {
  if (open_.size() >= kMaxChain) {
    return Error(ErrorCode::kDataLoss, "image.chain.too_long",
                 fmt::format("the disk's chain of parents has more than {} disks", kMaxChain))
        .WithRemedy("consolidate the VM's snapshots first");
  }
  VMFERRY_ASSIGN_OR_RETURN(OpenedFile opened,
                           role == FileRole::kDisk ? OpenFile(path, options_) : OpenInside(path));
  const bool seen = std::any_of(open_.begin(), open_.end(), [&](const sys::FileIdentity& other) {
    return other.device == opened.identity.device && other.inode == opened.identity.inode;
  });
  if (seen) {
    return Error(ErrorCode::kDataLoss, "image.chain.loop",
                 fmt::format("{} is its own parent, directly or by way of others", path.string()))
        .With("path", path.string());
  }
  open_.push_back(opened.identity);
  files_.push_back({path.string(), role, opened.identity});
  // Names inside a file are relative to where the file is, not to a link that leads to it.
  std::error_code failure;
  fs::path real = fs::canonical(path, failure);
  if (failure) real = path;
  FileCompanions companions(*this, real.parent_path());
  auto image = [&]() -> Result<std::unique_ptr<DiskImage>> {
    if (!declared) {
      return ProbeAndOpen(std::move(opened.source), opened.is_block_device, path, companions,
                          role == FileRole::kDisk ? options_.disk : std::nullopt);
    }
    // A declared raw disk is one whatever its bytes look like: they are a guest's.
    if (*declared == Format::kUnknown) return raw::Open(std::move(opened.source));
    return OpenByFormat(std::move(opened.source), *declared, false, path, companions);
  }();
  open_.pop_back();
  return image;
}

Result<Appliance> Chain::OpenWholeAppliance(const fs::path& path) {
  VMFERRY_ASSIGN_OR_RETURN(OpenedFile opened, OpenFile(path, options_));
  files_.push_back({path.string(), FileRole::kDisk, opened.identity});
  VMFERRY_ASSIGN_OR_RETURN(const Format format, Probe(*opened.source));
  if (format != Format::kTar && format != Format::kOvf) {
    return NotAnAppliance(path.string());
  }
  std::error_code failure;
  fs::path real = fs::canonical(path, failure);
  if (failure) real = path;
  FileCompanions companions(*this, real.parent_path());
  auto appliance = OpenPackage(std::move(opened.source), format, path, companions);
  if (appliance || appliance.error().FindFact("path") != nullptr) return appliance;
  return std::move(appliance).error().With("path", path.string());
}

Result<std::vector<fs::path>> Chain::FindParents(const ParentRequest& request,
                                                 const fs::path& folder) const {
  std::vector<fs::path> found;
  std::optional<Error> first_failure;
  const auto keep = [&](Error error) {
    if (!first_failure) first_failure = std::move(error);
  };
  for (const bool beside : {false, true}) {
    if (beside && !request.search_beside) break;
    for (const std::string& name : request.names) {
      auto path = PathOfName(name, request.style);
      if (!path) {
        keep(std::move(path).error());
        continue;
      }
      auto resolved = ResolveInside(beside ? path->filename() : *path, folder, roots_);
      if (!resolved) {
        keep(std::move(resolved).error());
      } else if (std::find(found.begin(), found.end(), *resolved) == found.end()) {
        found.push_back(*std::move(resolved));
      }
    }
  }
  if (!found.empty()) return found;
  if (first_failure) return *std::move(first_failure);
  return Error(ErrorCode::kNotFound, "image.chain.missing",
               "the disk image has a parent but does not name it");
}

bool IsExpected(const ParentRequest& request, const std::string& identity) {
  return request.identity.empty() || identity == request.identity ||
         std::find(request.other_identities.begin(), request.other_identities.end(), identity) !=
             request.other_identities.end();
}

Result<ParentDisk> Chain::OpenParent(const ParentRequest& request, const fs::path& folder) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<fs::path> paths, FindParents(request, folder));
  std::optional<Error> first_mismatch;
  for (const fs::path& path : paths) {
    const std::size_t files_before = files_.size();
    VMFERRY_ASSIGN_OR_RETURN(auto image, Open(path, FileRole::kParent, request.format));
    const std::string identity = image->Info().identity;
    if (IsExpected(request, identity)) {
      return ParentDisk{.image = std::move(image), .path = path.string()};
    }
    // A disk that has moved may find another of its parent's name in the old place.
    files_.resize(files_before);
    if (!first_mismatch) {
      first_mismatch =
          Error(ErrorCode::kDataLoss, "image.chain.parent_mismatch",
                fmt::format("{} is not the parent that the disk image stands on: its identity is "
                            "'{}', not '{}'",
                            path.string(), identity, request.identity))
              .With("path", path.string())
              .WithRemedy(
                  "the parent was written to after the VM snapshot was taken, or is another disk: "
                  "find the right file, or consolidate the VM's snapshots where it comes from");
    }
    // In a chain made for it, each disk could have two parents, and the ways would double.
    if (++mistaken_ > kMaxChain) break;
  }
  return *std::move(first_mismatch);
}

class Refusal final : public Companions {
 public:
  Result<std::unique_ptr<ByteSource>> OpenExtent(std::string_view name, NameStyle) override {
    return Refuse(name);
  }
  Result<ParentDisk> OpenParent(const ParentRequest& request) override {
    return Refuse(request.names.empty() ? std::string_view() : request.names.front());
  }

 private:
  static Error Refuse(std::string_view name) {
    return Error(ErrorCode::kPermissionDenied, "image.chain.outside",
                 fmt::format("the disk image names another file '{}', but is not a file itself",
                             name.substr(0, 200)))
        .WithRemedy("unpack the disk and its other files into one folder");
  }
};

/// What the extension of a file promises, when it promises another format than it holds.
std::vector<std::string> RemarksOn(const fs::path& path, const DiskImageInfo& info) {
  struct Promise {
    std::string_view extension;
    std::string_view format;
  };
  constexpr Promise kPromises[] = {{".vmdk", "vmdk"},   {".vhd", "vhd"},    {".vpc", "vhd"},
                                   {".vhdx", "vhdx"},   {".avhdx", "vhdx"}, {".avhd", "vhd"},
                                   {".qcow2", "qcow2"}, {".qcow", "qcow2"}, {".raw", "raw"},
                                   {".dd", "raw"}};
  const std::string extension = LowerExtension(path);
  for (const Promise& promise : kPromises) {
    if (extension != promise.extension || info.format == promise.format) continue;
    return {fmt::format("its extension {} promises {}, but it holds {}: the content counts",
                        extension, promise.format, info.format)};
  }
  return {};
}

/// The folders in which the files of the disk in `path` may lie.
Result<std::vector<fs::path>> Roots(const fs::path& path, const OpenOptions& options) {
  std::error_code failure;
  std::vector<fs::path> roots;
  const fs::path real = fs::canonical(path, failure);
  // Beside a device lie other machines' devices, and a guest can write what it likes to its own.
  if (!failure && !fs::is_block_file(real, failure)) roots.push_back(real.parent_path());
  for (const fs::path& allowed : options.allow_paths) {
    const fs::path root = fs::canonical(allowed, failure);
    if (failure) {
      return Error(ErrorCode::kNotFound, "io.not_found",
                   fmt::format("--allow-path: there is no folder {}", allowed.string()))
          .With("path", allowed.string());
    }
    roots.push_back(root);
  }
  return roots;
}

}  // namespace

Companions& NoCompanions() {
  static Refusal refusal;  // without state
  return refusal;
}

Result<std::unique_ptr<DiskImage>> OpenDiskSource(std::unique_ptr<ByteSource> source,
                                                  const std::filesystem::path& name) {
  return ProbeAndOpen(std::move(source), false, name, NoCompanions());
}

bool IsUri(const std::string& location) { return nbd::IsUri(location); }

Result<OpenedDisk> OpenDisk(const std::string& location, const OpenOptions& options) {
  if (nbd::IsUri(location)) {
    VMFERRY_ASSIGN_OR_RETURN(auto image, nbd::Open(location));
    return OpenedDisk{.image = std::move(image), .files = {}, .remarks = {}};
  }
  const fs::path path(location);
  VMFERRY_ASSIGN_OR_RETURN(std::vector<fs::path> roots, Roots(path, options));
  Chain chain(options, std::move(roots));
  VMFERRY_ASSIGN_OR_RETURN(auto image, chain.Open(path, FileRole::kDisk, std::nullopt));
  std::vector<std::string> remarks = RemarksOn(path, image->Info());
  return OpenedDisk{
      .image = std::move(image), .files = chain.TakeFiles(), .remarks = std::move(remarks)};
}

Result<OpenedAppliance> OpenAppliance(const std::string& location, const OpenOptions& options) {
  if (nbd::IsUri(location)) return NotAnAppliance(location);
  const fs::path path(location);
  VMFERRY_ASSIGN_OR_RETURN(std::vector<fs::path> roots, Roots(path, options));
  Chain chain(options, std::move(roots));
  VMFERRY_ASSIGN_OR_RETURN(Appliance appliance, chain.OpenWholeAppliance(path));
  return OpenedAppliance{.appliance = std::move(appliance), .opened_files = chain.TakeFiles()};
}

}  // namespace vmferry::image
