// SPDX-License-Identifier: Apache-2.0
//
// Sandbox: runs programs that touch hostile disks or guests as an unprivileged user with limits.
//
// When the region runs as root, qemu-img, qemu-io and QEMU run as `nobody` and reach only files
// given to that user for as long as they are needed. When the region runs as an ordinary user,
// they run as that user. In both cases without the right to gain privileges, and with limits.
//
// Files are named relative to the working folder: the region's folder may lie below one that the
// unprivileged user cannot enter (/root), and a working folder needs no search of its parents.
//
// Thread safety: immutable.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/process.h"

namespace vmferry::region::vm {

struct ProcessLimits {
  std::chrono::seconds cpu{0};            ///< 0: none
  std::uint64_t address_space_bytes = 0;  ///< 0: none
  std::uint64_t file_bytes = 0;           ///< largest file it may write; 0: none
  /// Killed by the kernel when the thread that started it dies: for tools, not for instances.
  bool dies_with_us = false;
};

class Sandbox {
 public:
  /// For the user this process runs as.
  static Sandbox ForThisProcess();

  /// Options that run `arguments` confined, in `folder`, with an environment of its own.
  sys::ProcessOptions Confine(std::vector<std::string> arguments,
                              const std::filesystem::path& folder,
                              const ProcessLimits& limits) const;

  /// Makes the file or folder the unprivileged user's own (0600, folders 0700).
  Result<void> Give(const std::filesystem::path& path) const;
  /// Lets the unprivileged user read the file, not write it (0640).
  Result<void> Share(const std::filesystem::path& path) const;
  /// Makes it ours again (0600, folders 0700).
  Result<void> TakeBack(const std::filesystem::path& path) const;
  /// Makes the folder if needed and lets the unprivileged user pass through it (0711), so that it
  /// can open what it knows the name of, and list nothing.
  Result<void> MakeShelf(const std::filesystem::path& path) const;

  /// True when a confined QEMU may open /dev/kvm.
  bool KvmUsable() const;

 private:
  bool root_ = false;
  uid_t user_ = 0;
  gid_t group_ = 0;
};

}  // namespace vmferry::region::vm
