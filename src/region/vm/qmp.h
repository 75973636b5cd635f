// SPDX-License-Identifier: Apache-2.0
//
// Qmp: one conversation with a QEMU process over its machine protocol socket.
//
// A conversation is short: connect, negotiate, one or a few commands, close. QEMU talks to one
// client at a time; a second one waits.
// Source: QEMU, "QEMU Machine Protocol Specification".

#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "text/json.h"

namespace vmferry::region::vm {

class Qmp {
 public:
  /// Errors: kUnavailable region.qmp_failed (nobody listens, or no answer within `patience`).
  static Result<Qmp> Connect(const std::filesystem::path& socket_path,
                             std::chrono::milliseconds patience = std::chrono::seconds(5));
  Qmp(Qmp&& other) noexcept;
  Qmp& operator=(Qmp&&) = delete;
  ~Qmp();

  /// Runs a command (with `arguments` unless they are null) and returns its "return" value; events
  /// are passed over. Errors: kUnavailable region.qmp_failed; kFailedPrecondition
  /// region.qmp_refused.
  Result<text::Json> Execute(std::string_view command, const text::Json& arguments = {});

  /// The process that listens on the socket.
  pid_t peer() const { return peer_; }

 private:
  Qmp(int socket, std::chrono::milliseconds patience) : socket_(socket), patience_(patience) {}
  Result<text::Json> NextMessage();

  int socket_;
  std::chrono::milliseconds patience_;
  pid_t peer_ = 0;
  std::string buffer_;
};

}  // namespace vmferry::region::vm
