// SPDX-License-Identifier: Apache-2.0
//
// Key pairs: public keys that a user imported, by name.
//
// The region has no metadata service, so guests do not fetch them: they are records.
//
// Thread safety: all functions, from any thread.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "region/core/database.h"
#include "region/vm/tags.h"

namespace vmferry::region::vm {

struct KeyPair {
  std::string id;  ///< "key-0123..."
  std::string name;
  std::string type;         ///< "rsa", "ed25519"
  std::string fingerprint;  ///< as EC2 makes it
  std::string public_key;   ///< one line in OpenSSH's form
  std::int64_t create_time = 0;
};

/// Reads a public key in OpenSSH's form; `id`, `name` and time are the caller's.
///
/// Fingerprint: for RSA the MD5 of the key's DER form, for ED25519 the SHA-256 of its OpenSSH form.
/// Errors: kInvalidArgument region.bad_public_key.
/// Source: EC2 user guide, "Verify the fingerprint of your key pair"; RFC 4253 6.6.
Result<KeyPair> ParsePublicKey(std::string_view line);

class KeyPairs {
 public:
  /// Makes the table.
  static Result<void> Open(Database& database);
  /// Errors: kAlreadyExists region.key_pair_exists.
  static Result<void> Add(Database& database, const KeyPair& key, const TagMap& tags);
  /// By name.
  static Result<std::vector<KeyPair>> List(Database& database);
  /// By name or id; nothing when there is none.
  static Result<std::optional<KeyPair>> Remove(Database& database, std::string_view name,
                                               std::string_view id);
};

}  // namespace vmferry::region::vm
