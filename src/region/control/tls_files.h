// SPDX-License-Identifier: Apache-2.0
//
// The region's certificates: an authority of its own, made at first start, and the server's.
//
// Thread safety: called once, with the folder's lock held.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "http/certificate.h"

namespace vmferry::region::control {

/// The authority's certificate, for clients to trust: `folder`/tls/ca.pem.
std::filesystem::path CaBundlePath(const std::filesystem::path& folder);

/// The names that AWS clients of a region ask for, wildcards for buckets among them.
std::vector<std::string> ServerNames(const std::string& region_name);

/// Reads `folder`/tls/{ca,ca-key,server,server-key}.pem (keys 0600), or makes what is absent. The
/// server's certificate is made anew when it lacks a name or ends within 60 days.
///
/// Errors: kDataLoss http.tls.bad_pem; kInternal http.tls.failed; those of sys/file.h.
Result<http::CertifiedKey> LoadOrMakeTls(const std::filesystem::path& folder,
                                         const std::string& region_name, WallTime now);

}  // namespace vmferry::region::control
