// SPDX-License-Identifier: Apache-2.0
//
// Bytes on a connection to the HTTP server: whatever comes, the connection ends, and the next
// client is served. The server and its threads are the real ones.
//
// Input: what a client sends before it closes its side.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "http/server.h"

namespace {

using namespace vmferry;

class Exchange final : public http::Exchange {
 public:
  Result<void> Write(std::span<const std::byte> data) override {
    bytes_ += data.size();
    return {};
  }
  http::Reply Finish() override {
    http::Reply reply;
    reply.body = std::to_string(bytes_);
    return reply;
  }

 private:
  std::uint64_t bytes_ = 0;
};

class Handler final : public http::Handler {
 public:
  std::unique_ptr<http::Exchange> Begin(http::RequestHead head) override {
    VMFERRY_CHECK(head.method.size() <= 64 * kKiB);
    return std::make_unique<Exchange>();
  }
  http::Reply Malformed(int status, std::string_view what) override {
    http::Reply reply;
    reply.status = status;
    reply.body = std::string(what);
    return reply;
  }
};

class World {
 public:
  World() {
    http::ServerOptions options;
    options.handler_threads = 2;
    server_ = std::move(http::Server::Listen(options, handler_, log_)).value();
    server_->Start();
  }

  std::string Exchange(std::string_view sent) {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    void* untyped = &address;
    VMFERRY_CHECK(::connect(socket, static_cast<sockaddr*>(untyped), sizeof(address)) == 0);
    while (!sent.empty()) {
      const ssize_t count = ::send(socket, sent.data(), sent.size(), MSG_NOSIGNAL);
      if (count <= 0) break;
      sent.remove_prefix(static_cast<std::size_t>(count));
    }
    ::shutdown(socket, SHUT_WR);
    std::string got;
    std::array<char, 65536> buffer;
    while (true) {
      pollfd waiting = {socket, POLLIN, 0};
      VMFERRY_CHECK(::poll(&waiting, 1, 8'000) == 1);  // it always ends
      const ssize_t count = ::recv(socket, buffer.data(), buffer.size(), 0);
      if (count <= 0) break;
      got.append(buffer.data(), static_cast<std::size_t>(count));
    }
    ::close(socket);
    return got;
  }

 private:
  NullLog log_;
  Handler handler_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  const std::string got =
      world.Exchange(std::string_view(reinterpret_cast<const char*>(data), size));
  VMFERRY_CHECK(got.empty() || got.starts_with("HTTP/1.1 "));
  return 0;
}
