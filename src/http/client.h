// SPDX-License-Identifier: Apache-2.0
//
// Client: the seam to the network. libcurl stands behind it in the product, scripts in tests.
//
// Thread safety: Send may be called from any number of threads.

#pragma once

#include <functional>

#include "base/deadline.h"
#include "http/message.h"

namespace vmferry::http {

struct SendOptions {
  /// A longer response body is an error (http.too_large), never kept.
  std::size_t response_limit_bytes = std::size_t{64} << 20;
  /// Takes the response body as it comes instead of Response::body; only for 2xx responses.
  std::function<Result<void>(std::span<const std::byte>)> sink;
};

class Client {
 public:
  virtual ~Client() = default;

  /// Sends the request and waits for the whole response, whatever its status. Redirects are not
  /// followed.
  ///
  /// Errors: kUnavailable http.connect_failed, http.cut, http.stalled, http.tls_failed;
  ///         kDeadlineExceeded http.timeout; kCancelled http.stopped;
  ///         kResourceExhausted http.too_large.
  virtual Result<Response> Send(const Request& request, const SendOptions& options,
                                const OpContext& context) = 0;
};

}  // namespace vmferry::http
