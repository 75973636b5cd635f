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

#include "image/in_use.h"
#include "image/probe.h"
#include "image/raw/raw_image.h"
#include "image/vmdk/stream_optimized.h"
#include "sys/file.h"

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kRawExtensions = {"", ".raw", ".img", ".bin", ".dd"};
/// Extensions that promise a format.
constexpr std::array<std::string_view, 10> kFormatExtensions = {
    ".vmdk", ".vhd", ".vhdx", ".qcow2", ".qcow", ".ova", ".ovf", ".vdi", ".qed", ".vpc"};

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
    case Format::kTar:
    case Format::kOvf:
      return std::move(error).WithRemedy(
          "unpack it (tar -xf FILE.ova) and give the .vmdk file inside");
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

Result<std::unique_ptr<DiskImage>> OpenByFormat(std::unique_ptr<ByteSource> source, Format format,
                                                bool trusted_raw, const fs::path& name) {
  switch (format) {
    case Format::kVmdkSparse:
      return vmdk::OpenStreamOptimized(std::move(source));
    case Format::kUnknown:
      if (source->SizeBytes() > 0 && !trusted_raw) VMFERRY_RETURN_IF_ERROR(CheckRawName(name));
      return raw::Open(std::move(source));
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
    case Format::kCompressed:
      break;
  }
  return UnsupportedFormat(format);
}

Result<std::unique_ptr<DiskImage>> ProbeAndOpen(std::unique_ptr<ByteSource> source,
                                                bool trusted_raw, const fs::path& name) {
  VMFERRY_ASSIGN_OR_RETURN(const Format format, Probe(*source));
  auto image = OpenByFormat(std::move(source), format, trusted_raw, name);
  if (!image) return std::move(image).error().With("path", name.string());
  return image;
}

}  // namespace

Result<std::unique_ptr<DiskImage>> OpenDiskSource(std::unique_ptr<ByteSource> source,
                                                  const std::filesystem::path& name) {
  return ProbeAndOpen(std::move(source), false, name);
}

Result<std::unique_ptr<DiskImage>> OpenDisk(const std::filesystem::path& path,
                                            const OpenOptions& options) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  const bool is_block_device = fs::is_block_file(status);
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
  VMFERRY_ASSIGN_OR_RETURN(auto source, MakeFileSource(std::move(file)));
  return ProbeAndOpen(std::move(source), is_block_device, path);
}

}  // namespace vmferry::image
