// SPDX-License-Identifier: Apache-2.0
//
// The source of a migration: opened, recognised again, and locked against a second run.

#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/appliance.h"
#include "image/open.h"
#include "migration/spec.h"
#include "sys/file.h"

namespace vmferry::migration {

struct OpenedSource {
  std::unique_ptr<image::DiskImage> image;
  /// The stored bytes of the file that was named; nothing for an NBD export.
  std::optional<sys::File> file;
  SourceSpec spec;
  /// What ImportInstance calls the stored file; empty when it may not travel as it is stored.
  std::string stored_wire_format;
  std::vector<std::string> remarks;  ///< defects and oddities, one sentence each
};

/// Opens the disk image and takes its identity and that of every other file of it.
/// Errors: those of image::OpenDisk; io.*.
Result<OpenedSource> OpenSource(const std::string& location, const image::OpenOptions& options);

/// Opens the source of a migration again.
/// Errors: as OpenSource; kFailedPrecondition source.changed when it is not what `spec` describes.
Result<OpenedSource> ReopenSource(const SourceSpec& spec);

/// The appliance that the source of a migration lies in; nothing when it is no OVA and no OVF.
/// Errors: those of image::OpenAppliance.
Result<std::optional<image::Appliance>> OpenSourceAppliance(const SourceSpec& spec);

/// What the source is called in keys and messages: its file name, or the export's, made plain.
std::string SourceName(const SourceSpec& spec);

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

/// The lock's name for a source: the same whatever path leads to a file, and by its URI for an
/// export.
std::string SourceLockName(const std::string& path, const sys::FileIdentity& identity);
/// The same for a source that was not opened yet. Errors: those of opening the file.
Result<std::string> SourceLockNameOf(const std::string& location);

}  // namespace vmferry::migration
