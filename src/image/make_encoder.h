// SPDX-License-Identifier: Apache-2.0
//
// MakeEncoder: from the name of a format to its encoder. The list of written formats.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/appliance.h"
#include "image/encoder.h"

namespace vmferry::image {

enum class OutputFormat {
  kRaw,
  kVmdk,  ///< stream-optimised
  kVhd,   ///< dynamic
  kVhdFixed,
  kQcow2,
  kQcow2Compressed,
  kOva,  ///< with a stream-optimised VMDK in it
};

struct OutputOptions {
  /// The name of the file to be: a VMDK names itself (libvmdk opens what it names), an appliance
  /// its machine.
  std::string file_name = "disk";
  /// Appliances only: the machine that the disk is of, so far as it is known.
  VmDescription vm;
  /// Seconds since 1970 for the times that some formats carry: SOURCE_DATE_EPOCH.
  std::uint64_t time_s = 0;
  /// Raw only: zeros that the source stores become holes.
  bool find_zeros = true;
};

/// "raw", "vmdk"...: what --format takes, in the order to show them.
std::vector<std::string> OutputFormatNames();
std::optional<OutputFormat> ParseOutputFormat(std::string_view name);
/// What the extension of a file asks for; nothing when it asks for none we write.
std::optional<OutputFormat> OutputFormatOf(const std::filesystem::path& path);

/// An encoder for a disk of that size. Errors: those of the format: kOutOfRange when the disk is
/// too large for it.
Result<std::unique_ptr<Encoder>> MakeEncoder(OutputFormat format, std::uint64_t size_bytes,
                                             const OutputOptions& options);

/// The encoder for disks that the import service does not take as they are stored: stream-optimised
/// VMDK, restartable. Errors: as MakeEncoder.
Result<std::unique_ptr<Encoder>> MakeWireEncoder(std::uint64_t size_bytes);

}  // namespace vmferry::image
