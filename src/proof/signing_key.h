// SPDX-License-Identifier: Apache-2.0
//
// The key that signs certificates, kept in the state folder.

#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "base/secret.h"

namespace vmferry::proof {

inline constexpr const char* kPrivateKeyFile = "certificate-key.pem";
inline constexpr const char* kPublicKeyFile = "certificate-key.pub.pem";

struct SigningKey {
  Secret private_pem;
  std::string public_pem;
};

/// Reads the key in `folder`, or makes one there: certificate-key.pem (0600) and, for whoever
/// checks certificates, certificate-key.pub.pem (0644).
///
/// Post:   both files are durable. Two processes that start at once end with one key.
/// Errors: kPermissionDenied certificate.key_exposed when others may read the private key, it
///         belongs to somebody else or is no regular file; kInvalidArgument codec.bad_key; io.*.
Result<SigningKey> LoadOrCreateSigningKey(const std::filesystem::path& folder);

}  // namespace vmferry::proof
