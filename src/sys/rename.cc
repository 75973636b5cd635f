// SPDX-License-Identifier: Apache-2.0
#include "sys/rename.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "sys/file.h"

namespace vmferry::sys {

Result<void> RenameFile(const std::filesystem::path& from, const std::filesystem::path& to,
                        bool replace) {
  int failed = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(),
                           replace ? 0U : static_cast<unsigned>(RENAME_NOREPLACE));
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS) && !replace) {
    // A file system without that flag: a hard link refuses a taken name as well.
    failed = ::link(from.c_str(), to.c_str());
    if (failed == 0) ::unlink(from.c_str());
  }
  if (failed != 0) return ErrnoError("rename to", to, errno);
  return SyncFolder(to.parent_path());
}

}  // namespace vmferry::sys
