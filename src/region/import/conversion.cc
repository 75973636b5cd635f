// SPDX-License-Identifier: Apache-2.0
#include "region/import/conversion.h"

#include "base/units.h"
#include "region/import/fetch.h"
#include "region/import/upload_gate.h"

namespace vmferry::region {

Error ConversionError(const Error& error, ImageFormat format) {
  if (error.reason() != "region.tool_failed") return error;
  if (error.message().find("No space left") != std::string::npos ||
      error.message().find("File too large") != std::string::npos) {
    return error;  // ours: the region's disk is full
  }
  if (format == ImageFormat::kVmdk) {
    return ClientError("Uncompressed data has an invalid length").CausedBy(error);
  }
  return ClientError("Disk validation failed [Unsupported specified file format]").CausedBy(error);
}

Result<std::uint64_t> AcceptUpload(const vm::Sandbox& sandbox, const vm::DiskTool& tool,
                                   const std::filesystem::path& work, const std::string& file,
                                   ImageFormat format, const OpContext& op) {
  std::uint64_t file_bytes = 0;
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File upload,
                             sys::File::Open(work / file, sys::File::Mode::kRead));
    VMFERRY_ASSIGN_OR_RETURN(file_bytes, upload.Size());
    if (auto accepted = CheckUpload(upload, format); !accepted) {
      if (accepted.error().reason() != "region.upload_refused") return accepted.error();
      return ClientError(accepted.error().message());
    }
  }
  VMFERRY_RETURN_IF_ERROR(sandbox.Give(work));
  VMFERRY_RETURN_IF_ERROR(sandbox.Share(work / file));
  if (format == ImageFormat::kRaw) return file_bytes;
  const auto size = tool.VirtualSize(work, file, QemuFormat(format), op);
  if (!size) return ConversionError(size.error(), format);
  return *size;
}

Result<void> MakeRaw(const vm::DiskTool& tool, const std::filesystem::path& work,
                     const std::string& file, const std::string& target, ImageFormat format,
                     std::uint64_t disk_bytes, const std::function<void(int percent)>& progress,
                     const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(work / target));
  if (format == ImageFormat::kRaw) {
    std::error_code failure;
    std::filesystem::rename(work / file, work / target, failure);
    if (failure) return sys::ErrnoError("move", work / target, failure.value());
    return {};
  }
  const Result<void> converted = tool.Convert(work,
                                              {.source = file,
                                               .source_format = QemuFormat(format),
                                               .target = target,
                                               .target_format = "raw",
                                               .target_bytes_max = disk_bytes + kMiB,
                                               .progress = progress},
                                              op);
  if (!converted) return ConversionError(converted.error(), format);
  return {};
}

}  // namespace vmferry::region
