// SPDX-License-Identifier: Apache-2.0
//
// The source of a migration: opened, recognised again, and locked against a second run.

#pragma once

#include <memory>
#include <optional>

#include "image/disk_image.h"
#include "migration/spec.h"
#include "sys/file.h"

namespace vmferry::migration {

struct OpenedSource {
  std::unique_ptr<image::DiskImage> image;
  sys::File file;  ///< the stored bytes
  SourceSpec spec;
};

/// Opens the disk image and takes its identity. Errors: io.*, image.*, vmdk.*.
Result<OpenedSource> OpenSource(const std::filesystem::path& path, bool allow_running);

/// Errors: kFailedPrecondition source.changed when `now` is not what `then` describes.
Result<void> CheckUnchanged(const SourceSpec& then, const SourceSpec& now);

/// A lock held by a running process. Locks are files in `<state>/locks`; the kernel releases them
/// with the process, however it ends.
class RunLock {
 public:
  /// Errors: kFailedPrecondition migration.busy when another process holds it.
  static Result<RunLock> Take(const std::filesystem::path& state_folder, std::string_view name);

 private:
  explicit RunLock(sys::File file) : file_(std::move(file)) {}
  sys::File file_;
};

/// The lock's name for a source file, the same whatever path leads to it.
std::string SourceLockName(const sys::FileIdentity& identity);

}  // namespace vmferry::migration
