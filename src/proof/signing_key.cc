// SPDX-License-Identifier: Apache-2.0
#include "proof/signing_key.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/byte_reader.h"
#include "codec/signature.h"
#include "sys/file.h"

namespace vmferry::proof {
namespace {

/// A PEM file of an Ed25519 key has some 120 bytes.
constexpr std::size_t kMaxKeyBytes = 4096;

Error Exposed(const std::filesystem::path& path, std::string_view why) {
  return Error(ErrorCode::kPermissionDenied, "certificate.key_exposed",
               fmt::format("the signing key {} {}", path.string(), why))
      .With("path", path.string())
      .WithRemedy(
          "if nobody else can have read it, run chmod 600 on it; otherwise remove it, and "
          "a new one is made");
}

/// Nothing when there is no such file.
Result<std::optional<Secret>> LoadPrivateKey(const std::filesystem::path& path) {
  struct stat named = {};
  if (::lstat(path.c_str(), &named) != 0 && errno == ENOENT) return std::optional<Secret>();
  if (!S_ISREG(named.st_mode)) return Exposed(path, "is not a regular file");
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file, sys::File::Open(path, sys::File::Mode::kRead));
  struct stat status = {};
  if (::fstat(file.descriptor(), &status) != 0) return sys::ErrnoError("read", path, errno);
  if ((status.st_mode & 077) != 0) {
    return Exposed(path,
                   fmt::format("has mode {:04o}: others may read it", status.st_mode & 07777));
  }
  if (status.st_uid != ::geteuid() && ::geteuid() != 0) {
    return Exposed(path, "belongs to another user");
  }
  std::string content(kMaxKeyBytes, '\0');
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t size,
                           file.ReadSomeAt(0, std::as_writable_bytes(std::span(content))));
  content.resize(size);
  return std::optional(Secret(std::move(content)));
}

/// Puts a new key at `path` unless somebody else was faster.
Result<void> CreatePrivateKey(const std::filesystem::path& path) {
  const Secret key = codec::GenerateEd25519Key();
  std::filesystem::path temporary = path;
  temporary += fmt::format(".{}.tmp", ::getpid());
  const auto create = [&]() -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(temporary, sys::File::Mode::kCreateNew));
    VMFERRY_RETURN_IF_ERROR(file.WriteAt(0, AsBytes(key.Expose())));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
    // link(2) fails where rename(2) would replace the key of the process that came first.
    if (::link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST) {
      return sys::ErrnoError("create", path, errno);
    }
    return {};
  };
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(temporary));  // of a process that died
  auto created = create();
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(temporary));
  VMFERRY_RETURN_IF_ERROR(created);
  return sys::SyncFolder(path.parent_path());
}

Result<void> WritePublicKey(const std::filesystem::path& path, const std::string& public_pem) {
  const auto present = sys::ReadWholeFile(path, kMaxKeyBytes);
  if (present && *present == public_pem) return {};
  return sys::WriteWholeFile(path, public_pem, 0644);
}

}  // namespace

Result<SigningKey> LoadOrCreateSigningKey(const std::filesystem::path& folder) {
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  const std::filesystem::path path = folder / kPrivateKeyFile;
  VMFERRY_ASSIGN_OR_RETURN(auto loaded, LoadPrivateKey(path));
  if (!loaded) {
    VMFERRY_RETURN_IF_ERROR(CreatePrivateKey(path));
    VMFERRY_ASSIGN_OR_RETURN(loaded, LoadPrivateKey(path));
    if (!loaded) return sys::ErrnoError("read", path, ENOENT);
  }
  auto public_pem = codec::Ed25519PublicKey(*loaded);
  if (!public_pem) {
    return std::move(public_pem)
        .error()
        .With("path", path.string())
        .WithRemedy("restore the key from a backup, or remove it and a new one is made");
  }
  VMFERRY_RETURN_IF_ERROR(WritePublicKey(folder / kPublicKeyFile, *public_pem));
  return SigningKey{.private_pem = std::move(*loaded), .public_pem = std::move(*public_pem)};
}

}  // namespace vmferry::proof
