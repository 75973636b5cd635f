// SPDX-License-Identifier: Apache-2.0
#include "image/in_use.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

namespace vmferry::image {
namespace {

namespace fs = std::filesystem;

// block/file-posix.c of QEMU: RAW_LOCK_PERM_BASE + the bit number of BLK_PERM_WRITE, and
// RAW_LOCK_SHARED_BASE + the bit number of BLK_PERM_CONSISTENT_READ.
constexpr std::array<off_t, 2> kQemuLockBytes = {101, 200};

/// True when any process holds a lock on that byte.
bool IsByteLocked(int descriptor, off_t offset) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = offset;
  lock.l_len = 1;
  // A file system without locks has no QEMU that could have taken one.
  if (::fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return false;
  return lock.l_type != F_UNLCK;
}

bool HasLockFolder(const fs::path& path) {
  fs::path folder = path;
  folder += ".lck";
  std::error_code failure;
  if (fs::is_directory(folder, failure)) return !fs::is_empty(folder, failure);
  return fs::exists(folder, failure);
}

/// ESXi on NFS names the lock after the file id, its bytes in the order of the wire.
bool HasNfsLockFile(const fs::path& path, std::uint64_t inode) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code failure;
  for (const std::uint64_t id : {inode, __builtin_bswap64(inode)}) {
    if (fs::exists(folder / fmt::format(".lck-{:016x}", id), failure)) return true;
  }
  return false;
}

/// A block device that is mounted or part of a volume group cannot be opened exclusively.
bool IsDeviceClaimed(const sys::File& file) {
  struct stat status = {};
  if (::fstat(file.descriptor(), &status) != 0 || !S_ISBLK(status.st_mode)) return false;
  const int descriptor = ::open(file.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  if (descriptor >= 0) {
    ::close(descriptor);
    return false;
  }
  return errno == EBUSY;
}

}  // namespace

Result<std::optional<std::string>> FindWriter(const sys::File& file) {
  for (const off_t offset : kQemuLockBytes) {
    if (IsByteLocked(file.descriptor(), offset)) {
      return std::optional<std::string>("a running QEMU (it holds its image lock)");
    }
  }
  // The lock lies beside the file itself, not beside a symbolic link to it.
  std::error_code failure;
  fs::path path = fs::canonical(file.path(), failure);
  if (failure) path = file.path();
  VMFERRY_ASSIGN_OR_RETURN(const sys::FileIdentity identity, file.Identity());
  if (HasLockFolder(path) || HasNfsLockFile(path, identity.inode)) {
    return std::optional<std::string>("VMware (its .lck lock lies beside the file)");
  }
  if (IsDeviceClaimed(file)) {
    return std::optional<std::string>("this machine (the device is mounted or claimed)");
  }
  return std::optional<std::string>();
}

}  // namespace vmferry::image
