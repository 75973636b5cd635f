// SPDX-License-Identifier: Apache-2.0
//
// MigrationSpec: what was asked for and what was found at the source, fixed when a migration is
// begun and kept in the journal.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::migration {

/// Another file of the source disk: an extent or a parent.
struct SourceFile {
  std::string path;
  sys::FileIdentity identity;

  bool operator==(const SourceFile&) const = default;
};

/// The source as it was when the migration began; a resumed run finds it unchanged or refuses.
struct SourceSpec {
  std::string path;  ///< absolute, or an NBD URI
  /// All zero, but for the size, when the source is not a file.
  sys::FileIdentity identity;
  std::vector<SourceFile> other_files;  ///< in the order of their opening
  std::string sample;     ///< hex SHA-256 over sampled ranges of the stored file or of the disk
  std::string format;     ///< of the disk image: "vmdk"
  std::string subformat;  ///< "streamOptimized"
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t data_bytes = 0;  ///< guest bytes that are neither zero nor hole

  // How it is opened.
  bool allow_running = false;
  std::vector<std::string> allow_paths;
  std::uint32_t disk = 0;  ///< of an appliance, from 1; 0: the only one
};

/// What travels.
struct WireSpec {
  std::string format;             ///< what the import API calls it: "VMDK"
  std::string encoder;            ///< id of the encoder; empty: the file travels as it is stored
  std::uint64_t piece_bytes = 0;  ///< nominal size of a part
};

struct MigrationSpec {
  SourceSpec source;
  WireSpec wire;

  // Target.
  std::string to = "local";  ///< "local" or "aws"
  std::string region;
  std::string profile;  ///< of the AWS configuration; empty: as the environment says
  std::string zone;     ///< empty: the service chooses
  std::string bucket;
  std::string key_prefix;  ///< of everything this migration puts into the bucket; ends in '/'
  std::uint64_t volume_size_gib = 0;

  // Import.
  std::string route = "instance";
  std::string platform = "Linux";
  std::string architecture = "x86_64";
  std::string instance_type = "t3.small";
  std::string subnet;
  std::vector<std::string> security_groups;

  // Proof and checks.
  std::string verify = "full";  ///< "full" or "none"
  bool keep_snapshot = false;
  std::vector<std::string> checks = {"console", "ssh"};
  std::string console_text = "login:";

  // Affects performance only.
  std::uint32_t parallel = 8;

  /// One line of JSON.
  std::string ToJson() const;
  /// Errors: kDataLoss migration.bad_spec.
  static Result<MigrationSpec> FromJson(std::string_view json);
};

}  // namespace vmferry::migration
