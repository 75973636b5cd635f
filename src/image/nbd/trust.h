// SPDX-License-Identifier: Apache-2.0
//
// TrustFolder: whom a TLS connection trusts, in the form libnbd wants: a folder with ca-cert.pem.
//
// libnbd 1.14 falls back to the system's certificates when it finds no such folder, and then does
// not check the server's at all (CVE-2024-7383). So it is always given one that is known to be
// there.

#pragma once

#include <filesystem>

#include "base/result.h"

namespace vmferry::image::nbd {

class TrustFolder {
 public:
  /// The user's folder, or, when `named` is empty, a temporary one that stands for the system's
  /// certificates.
  ///
  /// Errors: kUnavailable nbd.tls when there are no certificates.
  static Result<TrustFolder> Make(const std::filesystem::path& named);
  ~TrustFolder();
  TrustFolder(TrustFolder&& other) noexcept;
  TrustFolder& operator=(TrustFolder&&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  TrustFolder(std::filesystem::path path, bool temporary);

  std::filesystem::path path_;
  bool temporary_;
};

}  // namespace vmferry::image::nbd
