// SPDX-License-Identifier: Apache-2.0
#include "region/blobs/blob_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vmferry::region {
namespace {

constexpr std::size_t kIdHexDigits = 32;
constexpr std::string_view kTemporarySuffix = ".new";

/// Copies bytes of `from` to `end` of `to`, inside the kernel.
Result<void> CopyBytes(const sys::File& from, std::uint64_t offset, std::uint64_t length,
                       const sys::File& to, std::uint64_t end) {
  auto source = static_cast<off_t>(offset);
  auto target = static_cast<off_t>(end);
  std::uint64_t left = length;
  while (left > 0) {
    const ssize_t count = ::copy_file_range(from.descriptor(), &source, to.descriptor(), &target,
                                            static_cast<std::size_t>(left), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return sys::ErrnoError("write", to.path(), errno);
    if (count == 0) return sys::ErrnoError("read", from.path(), EIO);
    left -= static_cast<std::uint64_t>(count);
  }
  return {};
}

/// Removes the file on scope exit unless Keep was called.
class Removal {
 public:
  explicit Removal(std::filesystem::path path) : path_(std::move(path)) {}
  ~Removal() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove(path_, ignored);
  }
  Removal(const Removal&) = delete;
  Removal& operator=(const Removal&) = delete;
  void Keep() { kept_ = true; }

 private:
  const std::filesystem::path path_;
  bool kept_ = false;
};

}  // namespace

Result<std::unique_ptr<BlobStore>> BlobStore::Open(std::filesystem::path folder,
                                                   sys::Random& random) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  for (const char digit : kHex) {
    const std::filesystem::path child = folder / std::string(1, digit);
    if (::mkdir(child.c_str(), 0700) != 0 && errno != EEXIST) {
      return sys::ErrnoError("make", child, errno);
    }
  }
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(folder));
  return std::unique_ptr<BlobStore>(new BlobStore(std::move(folder), random));
}

std::filesystem::path BlobStore::PathOf(std::string_view id) const {
  return folder_ / std::string(id.substr(0, 1)) / std::string(id);
}

Result<void> BlobStore::MoveIn(const std::filesystem::path& from, std::string_view id) const {
  const std::filesystem::path to = PathOf(id);
  if (::rename(from.c_str(), to.c_str()) != 0) return sys::ErrnoError("rename", from, errno);
  return sys::SyncFolder(to.parent_path());
}

Result<std::string> BlobStore::Put(Payload& payload) {
  std::string id = random_.Hex(kIdHexDigits);
  std::filesystem::path source = payload.spool_path;
  if (source.empty()) source = PathOf(id) += kTemporarySuffix;
  Removal removal(source);
  if (payload.spool_path.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(source, sys::File::Mode::kCreateNew));
    VMFERRY_RETURN_IF_ERROR(file.WriteAt(0, std::as_bytes(std::span(payload.memory))));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
  } else {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(source, sys::File::Mode::kReadWrite));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
  }
  VMFERRY_RETURN_IF_ERROR(MoveIn(source, id));
  removal.Keep();
  payload.spool_path.clear();
  return id;
}

Result<std::string> BlobStore::Join(std::span<const std::string> ids) {
  std::string joined = random_.Hex(kIdHexDigits);
  const std::filesystem::path temporary = PathOf(joined) += kTemporarySuffix;
  Removal removal(temporary);
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(temporary, sys::File::Mode::kCreateNew));
    std::uint64_t end = 0;
    for (const std::string& id : ids) {
      VMFERRY_ASSIGN_OR_RETURN(const auto part, Read(id));
      VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, part->Size());
      VMFERRY_RETURN_IF_ERROR(CopyBytes(*part, 0, size, file, end));
      end += size;
    }
    VMFERRY_RETURN_IF_ERROR(file.Sync());
  }
  VMFERRY_RETURN_IF_ERROR(MoveIn(temporary, joined));
  removal.Keep();
  return joined;
}

Result<std::string> BlobStore::Link(std::string_view id) {
  std::string linked = random_.Hex(kIdHexDigits);
  const std::filesystem::path to = PathOf(linked);
  if (::link(PathOf(id).c_str(), to.c_str()) != 0)
    return sys::ErrnoError("link", PathOf(id), errno);
  Removal removal(to);
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(to.parent_path()));
  removal.Keep();
  return linked;
}

Result<std::string> BlobStore::Slice(std::string_view id, std::uint64_t offset_bytes,
                                     std::uint64_t length_bytes) {
  std::string slice = random_.Hex(kIdHexDigits);
  const std::filesystem::path temporary = PathOf(slice) += kTemporarySuffix;
  Removal removal(temporary);
  VMFERRY_ASSIGN_OR_RETURN(const auto from, Read(id));
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                           sys::File::Open(temporary, sys::File::Mode::kCreateNew));
  VMFERRY_RETURN_IF_ERROR(CopyBytes(*from, offset_bytes, length_bytes, file, 0));
  VMFERRY_RETURN_IF_ERROR(file.Sync());
  VMFERRY_RETURN_IF_ERROR(MoveIn(temporary, slice));
  removal.Keep();
  return slice;
}

Result<std::shared_ptr<const sys::File>> BlobStore::Read(std::string_view id) const {
  VMFERRY_ASSIGN_OR_RETURN(sys::File file, sys::File::Open(PathOf(id), sys::File::Mode::kRead));
  return std::shared_ptr<const sys::File>(std::make_shared<sys::File>(std::move(file)));
}

void BlobStore::Discard(std::string_view id) {
  std::error_code ignored;
  if (!id.empty()) std::filesystem::remove(PathOf(id), ignored);
}

std::uint64_t BlobStore::Sweep(const std::unordered_set<std::string>& known) {
  std::uint64_t removed = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_, ignored)) {
    if (!entry.is_regular_file(ignored)) continue;
    if (known.contains(entry.path().filename().string())) continue;
    if (std::filesystem::remove(entry.path(), ignored)) ++removed;
  }
  return removed;
}

}  // namespace vmferry::region
