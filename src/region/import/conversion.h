// SPDX-License-Identifier: Apache-2.0
//
// From an uploaded file to a disk, by qemu-img in the sandbox: the part that all imports share.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "region/import/manifest.h"
#include "region/vm/disk_tool.h"
#include "region/vm/sandbox.h"

namespace vmferry::region {

/// qemu-img's complaint about an upload in AWS's words where there are some; errors that are the
/// region's own fault (its disk is full, it stops) stay what they are.
Error ConversionError(const Error& error, ImageFormat format);

/// Looks at the file's own header, hands it to the sandbox for reading and returns the disk's
/// virtual size in bytes.
/// Pre:    `work` is ours; `file` lies in it.
/// Post:   `work` belongs to the sandbox's user, who can read `file`.
/// Errors: kInvalidArgument region.client_error.
Result<std::uint64_t> AcceptUpload(const vm::Sandbox& sandbox, const vm::DiskTool& tool,
                                   const std::filesystem::path& work, const std::string& file,
                                   ImageFormat format, const OpContext& op);

/// Makes the raw disk `target` of an accepted upload. A raw upload is renamed, other formats are
/// converted and stay.
/// Errors: kInvalidArgument region.client_error; those of DiskTool.
Result<void> MakeRaw(const vm::DiskTool& tool, const std::filesystem::path& work,
                     const std::string& file, const std::string& target, ImageFormat format,
                     std::uint64_t disk_bytes, const std::function<void(int percent)>& progress,
                     const OpContext& op);

}  // namespace vmferry::region
