// SPDX-License-Identifier: Apache-2.0
#include "transfer/local_file.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "sys/rename.h"

namespace vmferry::transfer {
namespace {

namespace fs = std::filesystem;

fs::path PartPath(const fs::path& path) {
  return path.parent_path() / fmt::format(".{}.vmferry-part", path.filename().string());
}

Error Exists(const fs::path& path) {
  return Error(ErrorCode::kAlreadyExists, "target.exists",
               fmt::format("{} exists already", path.string()))
      .With("path", path.string())
      .WithRemedy("choose another name, or give --force to replace it");
}

Error Busy(const fs::path& path) {
  return Error(ErrorCode::kFailedPrecondition, "target.busy",
               fmt::format("another process is writing {} at this moment", path.string()))
      .With("path", path.string())
      .WithRemedy("wait for it, or choose another name");
}

/// Is the open file still what the name stands for? A writer that ended between our opening and our
/// locking has renamed or removed it; a link put there by somebody else leads to another file.
Result<bool> IsStillThere(const sys::File& file) {
  struct stat opened = {};
  struct stat named = {};
  if (::fstat(file.descriptor(), &opened) != 0) {
    return sys::ErrnoError("open", file.path(), errno);
  }
  if (::lstat(file.path().c_str(), &named) != 0) return false;
  return S_ISREG(named.st_mode) && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino &&
         named.st_nlink <= 1;
}

}  // namespace

Result<LocalFileTarget> LocalFileTarget::Begin(const fs::path& path, bool replace) {
  std::error_code failure;
  const fs::file_status status = fs::symlink_status(path, failure);
  if (fs::exists(status)) {
    if (!fs::is_regular_file(status)) {
      return Error(ErrorCode::kInvalidArgument, "target.not_a_file",
                   fmt::format("{} is not an ordinary file", path.string()))
          .With("path", path.string())
          .WithRemedy("name a new file");
    }
    if (!replace) return Exists(path);
  }
  VMFERRY_ASSIGN_OR_RETURN(sys::File file,
                           sys::File::Open(PartPath(path), sys::File::Mode::kCreate));
  VMFERRY_ASSIGN_OR_RETURN(const bool taken, file.TryLock(/*exclusive=*/true));
  if (!taken) return Busy(path);
  VMFERRY_ASSIGN_OR_RETURN(const bool ours, IsStillThere(file));
  if (!ours) return Busy(path);
  VMFERRY_RETURN_IF_ERROR(file.Truncate(0));
  return LocalFileTarget(std::move(file), path, replace);
}

LocalFileTarget::~LocalFileTarget() {
  if (file_.descriptor() < 0 || committed_) return;
  // Nothing to be done about a failure here: the next run throws it away.
  static_cast<void>(sys::RemoveFile(file_.path()));
}

Result<std::string> LocalFileTarget::Put(const Piece& piece, std::span<const std::byte> data,
                                         std::uint32_t, const OpContext&) {
  VMFERRY_RETURN_IF_ERROR(file_.WriteAt(piece.offset_bytes, data));
  return std::string();
}

Result<std::vector<HeldPiece>> LocalFileTarget::Held(const OpContext&) {
  return std::vector<HeldPiece>();
}

Result<bool> LocalFileTarget::Holds(const Piece&, std::uint32_t, const OpContext&) { return false; }

Result<void> LocalFileTarget::Commit(std::uint64_t size_bytes) {
  VMFERRY_RETURN_IF_ERROR(file_.Truncate(size_bytes));
  VMFERRY_RETURN_IF_ERROR(file_.Sync());
  auto renamed = sys::RenameFile(file_.path(), path_, replace_);
  if (!renamed && renamed.error().reason() == "io.exists") return Exists(path_);
  committed_ = renamed.has_value();
  return renamed;
}

}  // namespace vmferry::transfer
