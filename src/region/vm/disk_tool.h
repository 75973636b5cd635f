// SPDX-License-Identifier: Apache-2.0
//
// DiskTool: qemu-img and qemu-io, always confined, always with an explicit format and a timeout.
//
// Files are named relative to the folder given with each call.
//
// Thread safety: all methods, from any thread, on different files.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/deadline.h"
#include "base/result.h"
#include "region/vm/sandbox.h"
#include "sys/clock.h"

namespace vmferry::region::vm {

/// One entry of `qemu-img map`.
struct MapRun {
  std::uint64_t start_bytes = 0;
  std::uint64_t length_bytes = 0;
  /// Written in the top layer, zero or not; false for what lies in the backing file or nowhere.
  bool written = false;
};

struct Conversion {
  std::string source;
  std::string source_format;  ///< "raw", "vmdk", "vpc", "vhdx", "qcow2"
  std::string target;
  std::string target_format;
  std::uint64_t target_bytes_max = 0;  ///< limit of the file written
  /// Called now and then with 0..100, from the calling thread.
  std::function<void(int percent)> progress;
};

class DiskTool {
 public:
  DiskTool(sys::Clock& clock, const Sandbox& sandbox) : clock_(clock), sandbox_(sandbox) {}

  /// Errors of all methods: kDataLoss region.tool_failed (the tool's own words in the message);
  /// kDeadlineExceeded process.timeout; kCancelled process.stopped; kNotFound process.not_found.
  Result<std::uint64_t> VirtualSize(const std::filesystem::path& folder, const std::string& file,
                                    const std::string& format, const OpContext& context) const;
  Result<void> Convert(const std::filesystem::path& folder, const Conversion& conversion,
                       const OpContext& context) const;
  /// Grows (never shrinks) a qcow2 file to `size_bytes`.
  Result<void> Resize(const std::filesystem::path& folder, const std::string& file,
                      std::uint64_t size_bytes, const OpContext& context) const;
  /// Calls `take` for every run of a qcow2 file in order. The list passes through a file
  /// `scratch`, since it can be large.
  Result<void> Map(const std::filesystem::path& folder, const std::string& file,
                   const std::filesystem::path& scratch, const OpContext& context,
                   const std::function<Result<void>(const MapRun&)>& take) const;
  /// Replaces the byte at `offset_bytes` of the guest's view by its complement.
  Result<void> FlipByte(const std::filesystem::path& folder, const std::string& file,
                        std::uint64_t offset_bytes, const OpContext& context) const;

 private:
  Result<std::string> Run(const std::filesystem::path& folder, std::vector<std::string> arguments,
                          std::uint64_t file_bytes_max, const OpContext& context) const;

  sys::Clock& clock_;
  const Sandbox& sandbox_;
};

/// The last percentage in the output of `qemu-img -p` ("    (12.34/100%)\r..."), or -1.
int LastPercent(std::string_view output);

/// One line of `qemu-img map --output=json`. Errors: kDataLoss region.tool_failed.
Result<MapRun> ParseMapLine(std::string_view line);

}  // namespace vmferry::region::vm
