// SPDX-License-Identifier: Apache-2.0
#include "sys/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vmferry::sys {
namespace {

struct Meaning {
  ErrorCode code;
  std::string_view reason;
  std::string_view remedy;
};

Meaning MeaningOf(std::string_view action, int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return {ErrorCode::kNotFound, "io.not_found", "check the path"};
    case EACCES:
    case EPERM:
    case EROFS:
      return {ErrorCode::kPermissionDenied, "io.permission_denied",
              "run as a user who may access it, or change its permissions"};
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return {ErrorCode::kResourceExhausted, "io.no_space", "free some space and try again"};
    case EISDIR:
      return {ErrorCode::kInvalidArgument, "io.is_directory", "name a file"};
    case EEXIST:
      return {ErrorCode::kAlreadyExists, "io.exists", "choose another name"};
    default:
      break;
  }
  if (action == "read") {
    return {ErrorCode::kUnavailable, "io.read_failed", "check the disk that the file lies on"};
  }
  if (action == "open") return {ErrorCode::kUnavailable, "io.open_failed", "check the path"};
  return {ErrorCode::kUnavailable, "io.write_failed", "check the disk that the file lies on"};
}

std::int64_t Nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Error ErrnoError(std::string_view action, const std::filesystem::path& path, int error_number) {
  const Meaning meaning = MeaningOf(action, error_number);
  return Error(meaning.code, meaning.reason,
               fmt::format("cannot {} {}: {}", action, path.string(), std::strerror(error_number)))
      .With("path", path.string())
      .WithRemedy(meaning.remedy);
}

Result<File> File::Open(const std::filesystem::path& path, Mode mode) {
  int flags = O_CLOEXEC | O_NOCTTY;
  switch (mode) {
    case Mode::kRead:
      flags |= O_RDONLY;
      break;
    case Mode::kReadWrite:
      flags |= O_RDWR;
      break;
    case Mode::kCreate:
      flags |= O_RDWR | O_CREAT;
      break;
    case Mode::kCreateNew:
      flags |= O_RDWR | O_CREAT | O_EXCL;
      break;
    case Mode::kAppend:
      flags |= O_WRONLY | O_CREAT | O_APPEND;
      break;
  }
  // O_NONBLOCK so that a FIFO in the source's place cannot hang us; it means nothing for files.
  const int descriptor = ::open(path.c_str(), flags | O_NONBLOCK, 0600);
  if (descriptor < 0) return ErrnoError("open", path, errno);
  File file(descriptor, path);
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return ErrnoError("open", path, errno);
  if (S_ISDIR(status.st_mode)) return ErrnoError("open", path, EISDIR);
  return file;
}

File File::FromDescriptor(int descriptor, std::filesystem::path path) {
  return File(descriptor, std::move(path));
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::size_t> File::ReadSomeAt(std::uint64_t offset_bytes, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count = ::pread(descriptor_, out.data() + done, out.size() - done,
                                  static_cast<off_t>(offset_bytes + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError("read", path_, errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<void> File::ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const {
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t count, ReadSomeAt(offset_bytes, out));
  if (count == out.size()) return {};
  return Error(ErrorCode::kUnavailable, "io.short_read",
               fmt::format("{} ends at byte {}, {} bytes were wanted at {}", path_.string(),
                           offset_bytes + count, out.size(), offset_bytes))
      .With("path", path_.string());
}

Result<void> File::WriteAt(std::uint64_t offset_bytes, std::span<const std::byte> data) const {
  while (!data.empty()) {
    const ssize_t count =
        ::pwrite(descriptor_, data.data(), data.size(), static_cast<off_t>(offset_bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError("write", path_, errno);
    data = data.subspan(static_cast<std::size_t>(count));
    offset_bytes += static_cast<std::uint64_t>(count);
  }
  return {};
}

Result<void> File::Append(std::span<const std::byte> data) const {
  while (!data.empty()) {
    const ssize_t count = ::write(descriptor_, data.data(), data.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoError("write", path_, errno);
    data = data.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> File::Truncate(std::uint64_t size_bytes) const {
  if (::ftruncate(descriptor_, static_cast<off_t>(size_bytes)) != 0) {
    return ErrnoError("resize", path_, errno);
  }
  return {};
}

Result<void> File::Sync() const {
  if (::fsync(descriptor_) != 0) return ErrnoError("sync", path_, errno);
  return {};
}

Result<std::uint64_t> File::Size() const {
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) return ErrnoError("read", path_, errno);
  if (S_ISBLK(status.st_mode)) {
    std::uint64_t size_bytes = 0;
    if (::ioctl(descriptor_, BLKGETSIZE64, &size_bytes) != 0) {
      return ErrnoError("read", path_, errno);
    }
    return size_bytes;
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<FileIdentity> File::Identity() const {
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0) return ErrnoError("read", path_, errno);
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, Size());
  return FileIdentity{.device = status.st_dev,
                      .inode = status.st_ino,
                      .size_bytes = size_bytes,
                      .modified_ns = Nanoseconds(status.st_mtim)};
}

Result<FileRun> File::RunAt(std::uint64_t offset_bytes) const {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, Size());
  const std::uint64_t rest = offset_bytes < size_bytes ? size_bytes - offset_bytes : 0;
  const auto from = static_cast<off_t>(offset_bytes);
  const off_t data = ::lseek(descriptor_, from, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return FileRun{offset_bytes, rest, true};
  if (data < 0) return FileRun{offset_bytes, rest, false};  // no support: all of it is data
  if (data > from) {
    return FileRun{offset_bytes, static_cast<std::uint64_t>(data - from), true};
  }
  const off_t hole = ::lseek(descriptor_, from, SEEK_HOLE);
  if (hole <= from) return FileRun{offset_bytes, rest, false};
  return FileRun{offset_bytes, static_cast<std::uint64_t>(hole - from), false};
}

Result<bool> File::TryLock(bool exclusive) const {
  if (::flock(descriptor_, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return true;
  if (errno == EWOULDBLOCK) return false;
  return ErrnoError("lock", path_, errno);
}

Result<std::string> ReadWholeFile(const std::filesystem::path& path, std::uint64_t limit_bytes) {
  VMFERRY_ASSIGN_OR_RETURN(const File file, File::Open(path, File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size_bytes, file.Size());
  if (size_bytes > limit_bytes) {
    return Error(ErrorCode::kOutOfRange, "io.too_large",
                 fmt::format("{} has {} bytes, more than the {} expected at most", path.string(),
                             size_bytes, limit_bytes));
  }
  std::string content(size_bytes, '\0');
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t count,
                           file.ReadSomeAt(0, std::as_writable_bytes(std::span(content))));
  content.resize(count);
  return content;
}

Result<void> WriteWholeFile(const std::filesystem::path& path, std::string_view content,
                            unsigned mode) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".{}.tmp", ::getpid());
  const auto write = [&]() -> Result<void> {
    // What lies there was left by a process that died; a link to elsewhere must not be followed.
    ::unlink(temporary.c_str());
    VMFERRY_ASSIGN_OR_RETURN(const File file, File::Open(temporary, File::Mode::kCreateNew));
    if (::fchmod(file.descriptor(), mode) != 0) return ErrnoError("write", temporary, errno);
    VMFERRY_RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(content))));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
    if (::rename(temporary.c_str(), path.c_str()) != 0) return ErrnoError("write", path, errno);
    return {};
  };
  if (auto written = write(); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return SyncFolder(path.parent_path());
}

Result<void> MakeFolders(const std::filesystem::path& path) {
  if (path.empty() || path == path.root_path()) return {};
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return {};
    return ErrnoError("create folder", path, ENOTDIR);
  }
  VMFERRY_RETURN_IF_ERROR(MakeFolders(path.parent_path()));
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoError("create folder", path, errno);
  }
  return {};
}

Result<void> RemoveFile(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError("remove", path, errno);
  return {};
}

Result<void> SyncFolder(const std::filesystem::path& path) {
  const std::filesystem::path folder = path.empty() ? "." : path;
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return ErrnoError("sync", folder, errno);
  const int failure = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems refuse to sync a folder: nothing we could do better there.
  if (failure != 0 && failure != EINVAL) return ErrnoError("sync", folder, failure);
  return {};
}

}  // namespace vmferry::sys
