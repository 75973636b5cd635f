// SPDX-License-Identifier: Apache-2.0
//
// The region's account and its access key, made at first start.
//
// Thread safety: values.

#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/secret.h"
#include "sys/random.h"

namespace vmferry::region {

struct RegionCredentials {
  std::string account_id;     ///< 12 digits
  std::string access_key_id;  ///< AKIA and 16 characters
  Secret secret_access_key;   ///< 40 characters
};

/// Reads `folder`/credentials.json (0600), or makes it.
/// Errors: kDataLoss region.credentials_damaged; those of sys/file.h.
Result<RegionCredentials> LoadOrMakeCredentials(const std::filesystem::path& folder,
                                                sys::Random& random);

/// Reads it without making it. Errors: also kNotFound io.not_found.
Result<RegionCredentials> LoadCredentials(const std::filesystem::path& folder);

}  // namespace vmferry::region
