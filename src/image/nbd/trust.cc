// SPDX-License-Identifier: Apache-2.0
#include "image/nbd/trust.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <string>
#include <system_error>
#include <utility>

namespace vmferry::image::nbd {
namespace {

namespace fs = std::filesystem;

/// Where Debian's ca-certificates keeps the system's certificates in one file.
constexpr const char* kSystemBundle = "/etc/ssl/certs/ca-certificates.crt";
/// The name libnbd looks for.
constexpr const char* kAuthorityFile = "ca-cert.pem";

Error NoCertificates(std::string message) {
  return Error(ErrorCode::kUnavailable, "nbd.tls", std::move(message))
      .WithRemedy(
          "install ca-certificates, or give a folder with ca-cert.pem: "
          "nbds://HOST/EXPORT?tls-certificates=FOLDER");
}

}  // namespace

TrustFolder::TrustFolder(fs::path path, bool temporary)
    : path_(std::move(path)), temporary_(temporary) {}

TrustFolder::TrustFolder(TrustFolder&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, false)) {}

TrustFolder::~TrustFolder() {
  if (!temporary_) return;
  std::error_code ignored;  // what is left is a folder with a link in it
  fs::remove(path_ / kAuthorityFile, ignored);
  fs::remove(path_, ignored);
}

Result<TrustFolder> TrustFolder::Make(const fs::path& named) {
  if (!named.empty()) {
    const fs::path authority = named / kAuthorityFile;
    if (::access(authority.c_str(), R_OK) == 0) return TrustFolder(named, false);
    return NoCertificates(fmt::format("{} cannot be read", authority.string()));
  }
  if (::access(kSystemBundle, R_OK) != 0) {
    return NoCertificates(
        fmt::format("the system's certificates, {}, cannot be read", kSystemBundle));
  }
  std::error_code failure;
  std::string path = (fs::temp_directory_path(failure) / "vmferry-trust-XXXXXX").string();
  if (failure || ::mkdtemp(path.data()) == nullptr) {
    return NoCertificates("no temporary folder could be made for the certificates");
  }
  TrustFolder folder(path, true);
  fs::create_symlink(kSystemBundle, folder.path_ / kAuthorityFile, failure);
  if (failure) return NoCertificates("no link could be made to the system's certificates");
  return folder;
}

}  // namespace vmferry::image::nbd
