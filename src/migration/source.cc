// SPDX-License-Identifier: Apache-2.0
#include "migration/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <span>
#include <system_error>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "image/extent_walk.h"
#include "image/open.h"

namespace vmferry::migration {
namespace {

constexpr std::uint64_t kSampleCount = 16;
constexpr std::uint64_t kSampleBytes = 64 * kKiB;

// SHA-256 over ranges spread evenly, first and last bytes included: catches a source that was
// replaced or rewritten with its time stamp kept.
template <typename ReadAt>
Result<std::string> SampleOf(std::uint64_t size_bytes, ReadAt read_at) {
  codec::Digester digester(codec::DigestKind::kSha256);
  std::vector<std::byte> buffer(std::min(size_bytes, kSampleBytes));
  const std::uint64_t last_offset = size_bytes - buffer.size();
  for (std::uint64_t i = 0; i < kSampleCount; ++i) {
    // i * last_offset cannot overflow: files are smaller than 2^59 bytes on every system.
    const Result<void> read =
        read_at(last_offset * i / (kSampleCount - 1), std::span<std::byte>(buffer));
    if (!read) return read.error();
    digester.Update(buffer);
  }
  std::array<std::byte, 32> out;
  return codec::HexEncode(digester.Finish(out));
}

Result<std::uint64_t> DataBytesOf(const image::DiskImage& image) {
  image::ExtentWalk walk(image);
  std::uint64_t data_bytes = 0;
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const std::optional<image::Extent> extent, walk.Next());
    if (!extent) return data_bytes;
    if (extent->kind == image::ExtentKind::kData) data_bytes += extent->length_bytes;
  }
}

bool SameFile(const sys::FileIdentity& a, const sys::FileIdentity& b) {
  return a.device == b.device && a.inode == b.inode;
}

/// What tells two states of a file apart; empty when nothing does.
std::string_view DifferenceOf(const sys::FileIdentity& then, const sys::FileIdentity& now) {
  if (then.size_bytes != now.size_bytes) return "its size";
  if (!SameFile(then, now)) return "its identity (another file has taken its place)";
  if (then.modified_ns != now.modified_ns) return "its modification time";
  return {};
}

Error Changed(const std::string& path, std::string_view what) {
  return Error(ErrorCode::kFailedPrecondition, "source.changed",
               fmt::format("{} has changed since the migration began: {}", path, what))
      .With("path", path)
      .WithRemedy("begin a new migration, and clean up this one with vmferry clean");
}

/// Errors: kFailedPrecondition source.changed when `now` is not what `then` describes.
Result<void> CheckUnchanged(const SourceSpec& then, const SourceSpec& now) {
  if (const auto what = DifferenceOf(then.identity, now.identity); !what.empty()) {
    return Changed(then.path, what);
  }
  if (then.other_files.size() != now.other_files.size()) {
    return Changed(then.path, "the number of its files");
  }
  for (std::size_t i = 0; i < then.other_files.size(); ++i) {
    const SourceFile& file = then.other_files[i];
    const auto what = DifferenceOf(file.identity, now.other_files[i].identity);
    if (!what.empty()) return Changed(file.path, what);
  }
  if (then.sample != now.sample || then.virtual_size_bytes != now.virtual_size_bytes) {
    return Changed(then.path, "its content");
  }
  return {};
}

image::OpenOptions OptionsOf(const SourceSpec& spec) {
  image::OpenOptions options = {.allow_running = spec.allow_running};
  options.allow_paths.assign(spec.allow_paths.begin(), spec.allow_paths.end());
  if (spec.disk != 0) options.disk = spec.disk;
  return options;
}

}  // namespace

Result<OpenedSource> OpenSource(const std::string& location, const image::OpenOptions& options) {
  const bool is_file = !image::IsUri(location);
  std::error_code failure;
  const std::string path =
      is_file ? std::filesystem::absolute(location, failure).string() : location;
  VMFERRY_ASSIGN_OR_RETURN(image::OpenedDisk disk, image::OpenDisk(path, options));
  const image::DiskImageInfo& info = disk.image->Info();
  OpenedSource source;
  source.spec = {.path = path,
                 .format = info.format,
                 .subformat = info.subformat,
                 .virtual_size_bytes = disk.image->SizeBytes(),
                 .allow_running = options.allow_running,
                 .disk = options.disk.value_or(0)};
  for (const auto& allowed : options.allow_paths) {
    source.spec.allow_paths.push_back(std::filesystem::absolute(allowed, failure).string());
  }
  source.stored_wire_format = info.wire_format;
  source.remarks = info.defects;
  source.remarks.insert(source.remarks.end(), disk.remarks.begin(), disk.remarks.end());
  if (is_file) {
    VMFERRY_ASSIGN_OR_RETURN(source.file, sys::File::Open(path, sys::File::Mode::kRead));
    VMFERRY_ASSIGN_OR_RETURN(source.spec.identity, source.file->Identity());
    for (const image::DiskFile& file : disk.files) {
      if (file.role != image::FileRole::kDisk) {
        source.spec.other_files.push_back({.path = file.path, .identity = file.identity});
      }
    }
    VMFERRY_ASSIGN_OR_RETURN(source.spec.sample,
                             SampleOf(source.spec.identity.size_bytes,
                                      [&](std::uint64_t offset_bytes, std::span<std::byte> out) {
                                        return source.file->ReadAt(offset_bytes, out);
                                      }));
  } else {
    source.spec.identity.size_bytes = disk.image->SizeBytes();
    VMFERRY_ASSIGN_OR_RETURN(source.spec.sample,
                             SampleOf(disk.image->SizeBytes(),
                                      [&](std::uint64_t offset_bytes, std::span<std::byte> out) {
                                        return disk.image->Read(offset_bytes, out);
                                      }));
  }
  VMFERRY_ASSIGN_OR_RETURN(source.spec.data_bytes, DataBytesOf(*disk.image));
  source.image = std::move(disk.image);
  return source;
}

Result<std::optional<image::Appliance>> OpenSourceAppliance(const SourceSpec& spec) {
  auto opened = image::OpenAppliance(spec.path, OptionsOf(spec));
  if (opened) return std::optional(std::move(opened->appliance));
  if (opened.error().reason() == "image.not_an_appliance") return std::optional<image::Appliance>();
  return std::move(opened).error();
}

Result<OpenedSource> ReopenSource(const SourceSpec& spec) {
  VMFERRY_ASSIGN_OR_RETURN(OpenedSource source, OpenSource(spec.path, OptionsOf(spec)));
  VMFERRY_RETURN_IF_ERROR(CheckUnchanged(spec, source.spec));
  return source;
}

std::string SourceName(const SourceSpec& spec) {
  if (!image::IsUri(spec.path)) return std::filesystem::path(spec.path).filename().string();
  // The last words of the URI, as far as a key can have them: "vda" of nbd://host/vda.
  const std::string path = spec.path.substr(0, spec.path.find('?'));
  std::string name = path.substr(path.find_last_of("/:") + 1);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-') c = '_';
  }
  return name.empty() ? "export" : name;
}

Result<RunLock> RunLock::Take(const std::filesystem::path& state_folder, std::string_view name) {
  const std::filesystem::path folder = state_folder / "locks";
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(folder / fmt::format("{}.lock", name),
                                                           sys::File::Mode::kCreate));
  VMFERRY_ASSIGN_OR_RETURN(const bool taken, file.TryLock(/*exclusive=*/true));
  if (taken) return RunLock(std::move(file));
  return Error(ErrorCode::kFailedPrecondition, "migration.busy",
               "another vmferry process is working on it at this moment")
      .WithRemedy("wait for it, or see vmferry status");
}

std::string SourceLockName(const std::string& path, const sys::FileIdentity& identity) {
  if (image::IsUri(path)) {
    const codec::Sha256Digest digest = codec::Sha256(AsBytes(path));
    return "source-" + codec::HexEncode(std::span(digest).first(16));
  }
  return fmt::format("source-{}-{}", identity.device, identity.inode);
}

Result<std::string> SourceLockNameOf(const std::string& location) {
  if (image::IsUri(location)) return SourceLockName(location, {});
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file, sys::File::Open(location, sys::File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(const sys::FileIdentity identity, file.Identity());
  return SourceLockName(location, identity);
}

}  // namespace vmferry::migration
