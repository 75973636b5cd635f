// SPDX-License-Identifier: Apache-2.0
//
// GuestFiles: reads files inside raw disks with GRUB's own readers (`grub-fstest`), in the sandbox,
// without mounting: ext2/3/4, XFS, Btrfs, JFS, FAT, NTFS, also on LVM.
//
// A disk is hostile: what a file system says is bounded in time, memory and size, and what the
// reader cannot make sense of is simply not there.
//
// Thread safety: const methods may run concurrently.

#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "region/vm/sandbox.h"
#include "sys/clock.h"

namespace vmferry::region {

class GuestFiles {
 public:
  /// `disks` are raw files that the sandbox's user may read, named relative to `folder`. Clock and
  /// sandbox outlive this.
  GuestFiles(sys::Clock& clock, const vm::Sandbox& sandbox, std::filesystem::path folder,
             std::vector<std::string> disks)
      : clock_(clock), sandbox_(sandbox), folder_(std::move(folder)), disks_(std::move(disks)) {}

  /// Errors of all methods: kCancelled process.stopped; kNotFound process.not_found (grub-fstest is
  /// not installed). A reader that crashes or does not end in time found nothing.

  /// What may hold a file system: "loop0,msdos1" (disk 0), "lvm/vg-root".
  Result<std::vector<std::string>> Devices(const OpContext& op) const;
  /// Names in a folder, those of folders with a slash at the end; nothing when there is no such
  /// folder.
  Result<std::optional<std::vector<std::string>>> List(std::string_view device,
                                                       std::string_view path,
                                                       const OpContext& op) const;
  /// The first bytes of a file, links followed; nothing when there is no such file.
  Result<std::optional<std::string>> Read(std::string_view device, std::string_view path,
                                          std::size_t bytes_max, const OpContext& op) const;

 private:
  Result<std::optional<std::string>> Run(std::vector<std::string> options,
                                         std::vector<std::string> command, std::size_t bytes_max,
                                         const OpContext& op) const;

  sys::Clock& clock_;
  const vm::Sandbox& sandbox_;
  const std::filesystem::path folder_;
  const std::vector<std::string> disks_;
};

}  // namespace vmferry::region
