// SPDX-License-Identifier: Apache-2.0
//
// Region: a running embedded region as an object. Several may live in one process, in different
// folders; the daemon of serve.h holds one.
//
// Thread safety: one thread at a time; what runs inside has its own threads.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/log.h"
#include "region/core/credentials.h"
#include "sys/clock.h"
#include "sys/random.h"

namespace vmferry::region::control {

/// Unassigned by IANA, and used by no emulator that we know of.
inline constexpr std::uint16_t kDefaultPort = 8014;

struct RegionOptions {
  std::filesystem::path folder;       ///< made when absent; one region at a time
  std::uint16_t port = kDefaultPort;  ///< 0: any free one
  std::string region_name = "us-east-1";
  std::string zone;  ///< empty: the region's name and "a"
  bool strict = false;
  bool quotas = false;     ///< AWS's default quotas of requests a second
  bool ephemeral = false;  ///< its folder is new, and removed when it stops
};

/// What the region needs of the world. Outlives it.
struct World {
  sys::Clock& clock;
  sys::Random& random;
  Log& log;
};

class Region {
 public:
  /// Takes the folder's lock, opens everything, and answers on the port when this returns.
  ///
  /// Errors: kFailedPrecondition region.locked (another process runs this region),
  ///         region.not_ephemeral (the folder holds a region that is to stay);
  ///         kInvalidArgument region.bad_option; http.server.port_in_use; those of sys/file.h and
  ///         sqlite (no space, damaged); kDataLoss region.credentials_damaged.
  static Result<std::unique_ptr<Region>> Start(const RegionOptions& options, const World& world);
  /// Ends without stopping the components, as a crash would; Stop first.
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::uint16_t port() const;
  std::string Endpoint() const;
  const RegionCredentials& credentials() const;

  /// Ends requests, stops the components in reverse order (instances power down), by the deadline.
  void Stop(const OpContext& context);

  struct State;  // defined in region.cc

 private:
  explicit Region(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// True for a folder whose region was started with `ephemeral`.
bool IsEphemeral(const std::filesystem::path& folder);

/// Errors: kInvalidArgument region.bad_option.
Result<void> Validate(const RegionOptions& options);

}  // namespace vmferry::region::control
