// SPDX-License-Identifier: Apache-2.0
//
// CurlClient: http::Client over libcurl, HTTP/1.1.
//
// Connections are kept and used again. Nothing is retried, except that libcurl may repeat a request
// other than POST when a kept connection turns out to be dead before the first byte of an answer.
// Redirects are not followed, answers are not decompressed, proxies come from the environment as
// curl reads it, but loopback is always reached directly.
//
// Thread safety: Send may be called from any number of threads; each call has a connection for
// itself, only the pool of idle ones is shared.

#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "http/client.h"
#include "sys/clock.h"

namespace vmferry::http {

struct CurlOptions {
  /// PEM file of certification authorities; empty for the system's.
  std::string ca_file;
  std::string user_agent = "vmferry";
  std::chrono::milliseconds connect_timeout{10'000};
  /// A transfer slower than stall_bytes_per_second for this long is given up with http.stalled.
  std::chrono::seconds stall_time{30};
  std::uint32_t stall_bytes_per_second = 1024;
  /// Idle connections' handles kept; each costs some 50 KiB and a socket.
  std::size_t idle_max = 64;
};

class CurlClient final : public Client {
 public:
  /// `clock` measures deadlines and must outlive the client.
  CurlClient(sys::Clock& clock, CurlOptions options);
  ~CurlClient() override;

  /// Stops within 200 ms of a stop request or the deadline.
  ///
  /// Errors: those of http::Client, with Retry set, and the facts url (without its query) and
  ///         bytes_sent; also kInvalidArgument http.bad_header (a line break in a header),
  ///         kUnavailable http.bad_response (not HTTP).
  Result<Response> Send(const Request& request, const SendOptions& options,
                        const OpContext& context) override;

 private:
  class Pool;
  sys::Clock& clock_;
  const CurlOptions options_;
  const std::unique_ptr<Pool> pool_;
};

}  // namespace vmferry::http
