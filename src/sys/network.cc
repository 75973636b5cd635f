// SPDX-License-Identifier: Apache-2.0
#include "sys/network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace vmferry::sys {
namespace {

constexpr std::size_t kBannerBytesMax = 255;
constexpr int kPollMs = 100;  // how soon a stop is noticed

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

class Socket {
 public:
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

// Waits until the socket is ready for `events`.
Result<void> WaitFor(int descriptor, short events, const OpContext& context) {
  while (true) {
    if (context.stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "network.stopped", "the connection was given up");
    }
    if (context.deadline.Passed(std::chrono::steady_clock::now())) {
      return Error(ErrorCode::kDeadlineExceeded, "network.timeout", "the peer stayed silent");
    }
    pollfd polled{descriptor, events, 0};
    if (::poll(&polled, 1, kPollMs) > 0) return {};
  }
}

Error NoBanner(const std::string& host, std::uint16_t port, std::string_view why) {
  return Error(ErrorCode::kUnavailable, "network.no_banner",
               fmt::format("nobody speaks on {}:{}: {}", host, port, why))
      .WithRetry(Retry::kTransient);
}

}  // namespace

Result<std::string> SystemNetwork::ReadBanner(const std::string& host, std::uint16_t port,
                                              const OpContext& context) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) {
    return NoBanner(host, port, "the name is not known");
  }
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(list);
  const Socket socket(
      ::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, list->ai_protocol));
  if (socket.descriptor() < 0) return NoBanner(host, port, std::strerror(errno));
  if (::connect(socket.descriptor(), list->ai_addr, list->ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return NoBanner(host, port, std::strerror(errno));
    VMFERRY_RETURN_IF_ERROR(WaitFor(socket.descriptor(), POLLOUT, context));
    int failure = 0;
    socklen_t length = sizeof(failure);
    ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure != 0) return NoBanner(host, port, std::strerror(failure));
  }
  std::string banner;
  while (banner.size() < kBannerBytesMax && banner.find('\n') == banner.npos) {
    VMFERRY_RETURN_IF_ERROR(WaitFor(socket.descriptor(), POLLIN, context));
    std::array<char, kBannerBytesMax> buffer;
    const ssize_t count =
        ::recv(socket.descriptor(), buffer.data(), kBannerBytesMax - banner.size(), 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0) return NoBanner(host, port, std::strerror(errno));
    if (count == 0) break;
    banner.append(buffer.data(), static_cast<std::size_t>(count));
  }
  banner.resize(std::min(banner.size(), banner.find_first_of("\r\n")));
  if (banner.empty()) return NoBanner(host, port, "the connection was closed without a word");
  return banner;
}

}  // namespace vmferry::sys
