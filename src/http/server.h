// SPDX-License-Identifier: Apache-2.0
//
// Server: HTTP/1.1 on a loopback port. It frames messages, bounds them and drops the slow; what a
// request means is the handler's business.
//
// With a certificate, the port speaks TLS too: the first byte of a connection tells which. A client
// that takes the port for its HTTP proxy may also send CONNECT, and gets TLS with this server,
// whatever host it asks for: nothing is ever forwarded.
//
// Two threads move headers and bodies of all connections; a bounded pool runs handlers, which may
// block. Boost.Beast parses headers and chunks.
//
// Thread safety: Start, Stop and the destructor from one thread; handlers run on many.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/deadline.h"
#include "base/log.h"
#include "base/units.h"
#include "http/certificate.h"
#include "http/message.h"
#include "sys/file.h"

namespace vmferry::http {

/// The head of a request as it was received.
struct RequestHead {
  std::string method;
  std::string target;  ///< path and query as sent
  Headers headers;
  std::optional<std::uint64_t> content_length_bytes;  ///< nothing for chunked bodies
};

/// A part of an open file as the body of a reply.
struct FileRange {
  std::shared_ptr<const sys::File> file;  // shared with the sender: the path may be gone by then
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

struct Reply {
  int status = 200;
  Headers headers;  ///< Content-Length, Connection and Date are the server's
  std::string body;
  std::optional<FileRange> file;  ///< instead of `body`
  /// The Content-Length to announce when no body is sent (HEAD).
  std::optional<std::uint64_t> announced_length_bytes;
  bool close = false;  ///< close the connection after this reply
  bool cut = false;    ///< send nothing and cut the connection: for fault injection
};

/// One request in the making. Its methods are called one at a time.
class Exchange {
 public:
  virtual ~Exchange() = default;
  /// False when the reply is already known and does not need the body: a client that waits for
  /// "100 Continue" then gets the reply at once, the body of others is read and dropped.
  virtual bool WantsBody() const { return true; }
  /// Takes the next bytes of the body, on a network thread. After an error it is not called
  /// again, the rest of the body is dropped, and Finish makes the reply.
  virtual Result<void> Write(std::span<const std::byte> data) = 0;
  /// Makes the reply, on a thread of the pool, once the body is complete (or refused). Not called
  /// when the client went away before.
  virtual Reply Finish() = 0;
};

class Handler {
 public:
  virtual ~Handler() = default;
  /// Called on a network thread when the head is complete; must not block.
  virtual std::unique_ptr<Exchange> Begin(RequestHead head) = 0;
  /// The reply to what is not even a request: 400 malformed, 431 too many header bytes, 501
  /// unknown transfer encoding. The connection is closed after it.
  virtual Reply Malformed(int status, std::string_view what) = 0;
};

struct ServerOptions {
  // Affects behaviour.
  std::string address = "127.0.0.1";  ///< only loopback addresses are accepted
  std::uint16_t port = 0;             ///< 0: any free one
  std::optional<CertifiedKey> tls;    ///< absent: plain HTTP only
  std::uint32_t header_bytes_max = 64 * kKiB;
  /// Longer bodies are refused before they are read (413), chunked ones while they are.
  std::uint64_t body_bytes_max = 5 * kGiB;
  std::chrono::milliseconds header_timeout{20'000};  ///< for a whole head, from its first byte
  std::chrono::milliseconds idle_timeout{120'000};   ///< between requests
  std::chrono::milliseconds stall_timeout{30'000};   ///< without a single byte, either direction
  /// A body slower than this for longer than stall_timeout is dropped.
  std::uint64_t body_bytes_per_second_min = 1024;
  // Affects performance.
  unsigned network_threads = 2;
  unsigned handler_threads = 16;
  /// Further connections wait in the kernel's queue. Idle ones are closed early when it fills up.
  unsigned connections_max = 1000;
};

class Server {
 public:
  /// Binds the port. The handler and the log outlive the server.
  ///
  /// Errors: kInvalidArgument http.server.not_loopback; kAlreadyExists http.server.port_in_use;
  ///         kUnavailable http.server.listen_failed; kDataLoss http.tls.bad_pem.
  static Result<std::unique_ptr<Server>> Listen(const ServerOptions& options, Handler& handler,
                                                Log& log);
  /// Stops at once.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  /// Begins to accept connections; until then they wait.
  void Start();
  /// Accepts no more, closes idle connections, lets replies in the making end until the deadline,
  /// then cuts what is left.
  void Stop(Deadline deadline);
  /// Connections open now.
  std::size_t connections() const;

  struct State;  // defined in server.cc

 private:
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// The reason phrase of a status: "Not Found"; "Status" when unknown.
std::string_view StatusPhrase(int status);

}  // namespace vmferry::http
