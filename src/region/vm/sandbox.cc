// SPDX-License-Identifier: Apache-2.0
#include "region/vm/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "sys/file.h"

namespace vmferry::region::vm {
namespace {

constexpr uid_t kNobody = 65534;  // Debian's nobody and nogroup

Result<void> SetOwner(const std::filesystem::path& path, std::optional<uid_t> user, gid_t group,
                      mode_t file_mode, mode_t folder_mode) {
  // Links are never followed: the unprivileged user may have put one there.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return sys::ErrnoError("open", path, errno);
  const sys::File file = sys::File::FromDescriptor(descriptor, path);
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0) return sys::ErrnoError("open", path, errno);
  if (user && ::fchown(descriptor, *user, group) != 0) return sys::ErrnoError("own", path, errno);
  if (::fchmod(descriptor, S_ISDIR(status.st_mode) ? folder_mode : file_mode) != 0) {
    return sys::ErrnoError("own", path, errno);
  }
  return {};
}

// The group that may use /dev/kvm, when there is one and it may.
std::optional<gid_t> KvmGroup() {
  struct stat status = {};
  if (::stat("/dev/kvm", &status) != 0 || (status.st_mode & 0060) != 0060) return std::nullopt;
  if (status.st_gid == 0) return std::nullopt;  // never root's group
  return status.st_gid;
}

bool KvmOpenToAll() {
  struct stat status = {};
  return ::stat("/dev/kvm", &status) == 0 && (status.st_mode & 0006) == 0006;
}

}  // namespace

Sandbox Sandbox::ForThisProcess() {
  Sandbox sandbox;
  sandbox.root_ = ::geteuid() == 0;
  sandbox.user_ = sandbox.root_ ? kNobody : ::geteuid();
  sandbox.group_ = sandbox.root_ ? kNobody : ::getegid();
  return sandbox;
}

sys::ProcessOptions Sandbox::Confine(std::vector<std::string> arguments,
                                     const std::filesystem::path& folder,
                                     const ProcessLimits& limits) const {
  std::vector<std::string> all = {"prlimit", "--core=0", "--nofile=256"};
  if (limits.cpu.count() > 0) all.push_back(fmt::format("--cpu={}", limits.cpu.count()));
  if (limits.address_space_bytes > 0) {
    all.push_back(fmt::format("--as={}", limits.address_space_bytes));
  }
  if (limits.file_bytes > 0) all.push_back(fmt::format("--fsize={}", limits.file_bytes));
  all.insert(all.end(), {"setpriv", "--no-new-privs"});
  if (root_) {
    all.push_back(fmt::format("--reuid={}", user_));
    all.push_back(fmt::format("--regid={}", group_));
    const std::optional<gid_t> kvm = KvmGroup();
    all.push_back(kvm ? fmt::format("--groups={}", *kvm) : "--clear-groups");
    all.insert(all.end(), {"--inh-caps=-all", "--bounding-set=-all"});
  }
  if (limits.dies_with_us) all.push_back("--pdeathsig=KILL");
  all.insert(all.end(), std::make_move_iterator(arguments.begin()),
             std::make_move_iterator(arguments.end()));
  sys::ProcessOptions options;
  options.arguments = std::move(all);
  options.working_folder = folder;
  options.clean_environment = true;
  options.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         "LC_ALL=C", "HOME=/nonexistent"};
  return options;
}

Result<void> Sandbox::Give(const std::filesystem::path& path) const {
  return SetOwner(path, root_ ? std::optional(user_) : std::nullopt, group_, 0600, 0700);
}

Result<void> Sandbox::Share(const std::filesystem::path& path) const {
  return SetOwner(path, root_ ? std::optional<uid_t>(0) : std::nullopt, group_, 0640, 0710);
}

Result<void> Sandbox::TakeBack(const std::filesystem::path& path) const {
  return SetOwner(path, root_ ? std::optional<uid_t>(0) : std::nullopt, 0, 0600, 0700);
}

Result<void> Sandbox::MakeShelf(const std::filesystem::path& path) const {
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(path));
  if (::chmod(path.c_str(), root_ ? 0711 : 0700) != 0) {
    return sys::ErrnoError("create folder", path, errno);
  }
  return {};
}

bool Sandbox::KvmUsable() const {
  if (!root_) return ::access("/dev/kvm", R_OK | W_OK) == 0;
  return KvmOpenToAll() || KvmGroup().has_value();
}

}  // namespace vmferry::region::vm
