// SPDX-License-Identifier: Apache-2.0
//
// World: what the commands are given by apps/, and the embedded region as they see it.

#pragma once

#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "migration/cloud.h"
#include "sys/environment.h"
#include "sys/network.h"
#include "sys/random.h"
#include "text/json.h"

namespace vmferry::store {
class Store;
}

namespace vmferry::cli {

struct RegionStart {
  std::filesystem::path folder;  ///< empty: the default one
  std::optional<std::uint16_t> port;
  bool strict = false;
  bool quotas = false;
  bool ephemeral = false;
};

struct RegionView {
  bool running = false;
  bool started_now = false;
  int pid = 0;
  std::uint16_t port = 0;
  std::string endpoint;
  std::string region_name;
  std::filesystem::path folder;
  /// Filled by who asks Details: instances, tasks, images, volumes, snapshots,
  /// space_bytes (region/control/status.h).
  text::Json details;
};

/// The embedded region's life. Errors: region.*.
class RegionControl {
 public:
  virtual ~RegionControl() = default;
  virtual Result<RegionView> Start(const RegionStart& start, const OpContext& context) = 0;
  virtual Result<void> Stop(const std::filesystem::path& folder, const OpContext& context) = 0;
  virtual Result<RegionView> Status(const std::filesystem::path& folder) = 0;
  /// What a running region tells of itself: RegionView::details.
  virtual Result<text::Json> Details(const std::filesystem::path& folder,
                                     const OpContext& context) = 0;
  /// Shell commands for `eval`.
  virtual Result<std::string> Env(const std::filesystem::path& folder) = 0;
  virtual Result<std::string> Console(const std::filesystem::path& folder,
                                      const std::string& instance_id, const OpContext& context) = 0;
  /// Carries out `vmferry region faults WORDS...` and returns what it says.
  virtual Result<std::string> Faults(const std::filesystem::path& folder,
                                     const std::vector<std::string>& words,
                                     const OpContext& context) = 0;
};

struct World {
  sys::Clock& clock;
  sys::Random& random;
  sys::Network& network;
  migration::CloudFactory& clouds;
  RegionControl& region;
  /// Opens the journal. Errors: sqlite.*, io.*.
  std::function<Result<std::unique_ptr<store::Store>>()> open_store;
  const sys::Folders& folders;
  /// Seconds since 1970 for the times in files that are made: SOURCE_DATE_EPOCH, or 0.
  std::uint64_t source_date_epoch = 0;
  std::stop_token stop;
  std::FILE* out;   ///< data
  std::FILE* talk;  ///< everything else
  bool talk_is_terminal;
  std::function<int()> columns;  ///< of the terminal
};

/// Runs one command line and returns the process's exit code.
int RunCli(int argc, const char* const* argv, World& world);

}  // namespace vmferry::cli
