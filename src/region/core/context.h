// SPDX-License-Identifier: Apache-2.0
//
// Settings and Context: what every part of the region is given. The context outlives all of them.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/log.h"
#include "base/units.h"
#include "region/core/database.h"
#include "region/core/faults.h"
#include "sys/clock.h"
#include "sys/random.h"

namespace vmferry::region {

/// Facts of one region, fixed while it runs.
struct Settings {
  std::filesystem::path folder;  ///< everything of the region lies below it
  std::string region_name = "us-east-1";
  std::string zone = "us-east-1a";
  std::string account_id;  ///< 12 digits, made at first start
  std::uint16_t port = 0;  ///< the one bound, never 0 once services exist
  /// Refuse what AWS merely tolerates.
  bool strict = false;
  /// Refuse more requests a second than AWS's default quotas allow (EBS direct APIs).
  bool quotas = false;
  /// Payloads up to this stay in memory, larger ones are spooled. PutSnapshotBlock (512 KiB) and
  /// every form fit.
  std::uint64_t memory_body_bytes = kMiB;
  /// Largest payload accepted: S3's limit for one PUT.
  std::uint64_t body_bytes_max = 5 * kGiB;

  /// "http://127.0.0.1:PORT"
  std::string Endpoint() const { return "http://127.0.0.1:" + std::to_string(port); }
  std::filesystem::path SpoolFolder() const { return folder / "spool"; }
};

struct Context {
  sys::Clock& clock;
  sys::Random& random;
  Log& log;
  Database& database;
  const Settings& settings;
  FaultRules& faults;
};

}  // namespace vmferry::region
