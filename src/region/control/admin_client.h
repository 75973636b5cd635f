// SPDX-License-Identifier: Apache-2.0
//
// AdminClient: asks a running region for administrative actions (faults and the like).
//
// Thread safety: all methods, from any thread.

#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "http/client.h"
#include "region/control/region_info.h"
#include "region/core/faults.h"
#include "sys/clock.h"
#include "text/json.h"

namespace vmferry::region::control {

class AdminClient {
 public:
  /// Client and clock outlive this.
  AdminClient(http::Client& client, const sys::Clock& clock) : client_(client), clock_(clock) {}

  /// Carries out one action of the region that runs in `folder`.
  ///
  /// Errors: kFailedPrecondition region.not_running; those of the action; those of http::Client.
  Result<text::Json> Do(const std::filesystem::path& folder, std::string_view action,
                        const text::Json& parameters, const OpContext& context);

  Result<std::int64_t> AddFault(const std::filesystem::path& folder, const FaultRule& rule,
                                const OpContext& context);
  Result<std::vector<FaultRule>> ListFaults(const std::filesystem::path& folder,
                                            const OpContext& context);
  /// Removes one rule, or all for id 0; returns how many.
  Result<std::int64_t> ClearFaults(const std::filesystem::path& folder, std::int64_t id,
                                   const OpContext& context);

 private:
  http::Client& client_;
  const sys::Clock& clock_;
};

}  // namespace vmferry::region::control
