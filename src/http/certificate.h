// SPDX-License-Identifier: Apache-2.0
//
// Certificates for a server of our own: an authority, and what it issues. Knows no AWS.
//
// Thread safety: pure functions.
// Source: RFC 5280.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "base/secret.h"

namespace vmferry::http {

/// A certificate and its private key, both PEM.
struct CertifiedKey {
  std::string certificate;
  Secret key;
};

/// Makes an authority (P-256, 10 years from a day before `now`).
/// Errors: kInternal http.tls.failed.
Result<CertifiedKey> MakeAuthority(const std::string& common_name, WallTime now);

/// Makes a server certificate for names ("localhost", "*.s3.us-east-1.amazonaws.com") and addresses
/// ("127.0.0.1"): 397 days, the longest that some clients accept.
/// Errors: kDataLoss http.tls.bad_pem (the authority cannot be read); kInternal http.tls.failed.
Result<CertifiedKey> IssueServerCertificate(const CertifiedKey& authority,
                                            std::span<const std::string> names,
                                            std::span<const std::string> addresses, WallTime now);

/// True when a PEM certificate is signed by the authority, covers all of the names, and is valid
/// from `now` for `days` days.
bool IsUsable(const std::string& certificate, const std::string& authority,
              std::span<const std::string> names, WallTime now, int days);

}  // namespace vmferry::http
