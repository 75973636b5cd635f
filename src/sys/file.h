// SPDX-License-Identifier: Apache-2.0
//
// File: a file descriptor with positions given at each call, and whole-file helpers.
//
// Errors of this module carry the path and the system's words. Codes: kNotFound io.not_found,
// kPermissionDenied io.permission_denied, kResourceExhausted io.no_space, kUnavailable
// io.read_failed / io.write_failed / io.open_failed, kInvalidArgument io.is_directory.
//
// Thread safety: const methods and WriteAt may run concurrently.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "base/deadline.h"
#include "base/result.h"

namespace vmferry::sys {

/// Facts of stat(2) by which a source is recognised again.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t size_bytes = 0;
  std::int64_t modified_ns = 0;  ///< since the epoch

  bool operator==(const FileIdentity&) const = default;
};

/// A run of the file's bytes that is stored, or a hole. Half-open.
struct FileRun {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  bool hole = false;
};

class File {
 public:
  enum class Mode {
    kRead,
    kReadWrite,  ///< must exist
    kCreate,     ///< read and write, created when absent
    kCreateNew,  ///< read and write, must not exist
    kAppend,     ///< write at the end, created when absent
  };

  /// Opens with O_CLOEXEC; new files get mode 0600. Directories are refused with io.is_directory.
  static Result<File> Open(const std::filesystem::path& path, Mode mode);
  /// Adopts an open descriptor.
  static File FromDescriptor(int descriptor, std::filesystem::path path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  /// Fills `out`; a file that ends before is kUnavailable io.short_read.
  Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const;
  /// Reads up to out.size() bytes; fewer only at the end of the file.
  Result<std::size_t> ReadSomeAt(std::uint64_t offset_bytes, std::span<std::byte> out) const;
  Result<void> WriteAt(std::uint64_t offset_bytes, std::span<const std::byte> data) const;
  Result<void> Append(std::span<const std::byte> data) const;
  Result<void> Truncate(std::uint64_t size_bytes) const;
  Result<void> Sync() const;
  /// Size of a regular file or block device.
  Result<std::uint64_t> Size() const;
  Result<FileIdentity> Identity() const;
  /// The stored run or hole that begins at `offset_bytes`, at most up to the end of the file.
  Result<FileRun> RunAt(std::uint64_t offset_bytes) const;
  /// flock(2) without waiting: false when somebody else holds it.
  Result<bool> TryLock(bool exclusive) const;

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  File(int descriptor, std::filesystem::path path)
      : descriptor_(descriptor), path_(std::move(path)) {}

  int descriptor_ = -1;
  std::filesystem::path path_;
};

/// The whole file as text. Errors: also kOutOfRange io.too_large above `limit_bytes`.
Result<std::string> ReadWholeFile(const std::filesystem::path& path, std::uint64_t limit_bytes);

/// Replaces the file by `content`: written beside it, synced, renamed, folder synced. Mode 0600
/// unless `mode` says otherwise.
Result<void> WriteWholeFile(const std::filesystem::path& path, std::string_view content,
                            unsigned mode = 0600);

/// Makes the folder and its parents (0700 where new). No error when it exists.
Result<void> MakeFolders(const std::filesystem::path& path);

Result<void> RemoveFile(const std::filesystem::path& path);
Result<void> SyncFolder(const std::filesystem::path& path);

/// An Error from errno, named for what was tried: ErrnoError("open", path).
Error ErrnoError(std::string_view action, const std::filesystem::path& path, int error_number);

}  // namespace vmferry::sys
