// SPDX-License-Identifier: Apache-2.0
//
// Network: the little of TCP that is needed beside HTTP: does somebody speak on that port?

#pragma once

#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "base/result.h"

namespace vmferry::sys {

class Network {
 public:
  virtual ~Network() = default;
  /// Connects and returns the first line the peer sends by itself (at most 255 bytes, without its
  /// end). A connection that stays silent counts for nothing: forwarded ports accept before the
  /// guest does.
  ///
  /// Errors: kUnavailable network.no_banner; kDeadlineExceeded network.timeout; kCancelled
  /// network.stopped.
  virtual Result<std::string> ReadBanner(const std::string& host, std::uint16_t port,
                                         const OpContext& context) = 0;
};

class SystemNetwork final : public Network {
 public:
  Result<std::string> ReadBanner(const std::string& host, std::uint16_t port,
                                 const OpContext& context) override;
};

}  // namespace vmferry::sys
