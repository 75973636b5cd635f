// SPDX-License-Identifier: Apache-2.0
//
// What bench/region.py compares the region's S3 with:
//
//   region_yardstick put FOLDER COUNT   MD5, CRC64NVME, file write and fsync of 10 MiB, COUNT
//   times,
//                                       from memory: prints CPU milliseconds each
//   region_yardstick serve FILE         a static file server without anything: one thread, blocking
//                                       sockets, sendfile; prints its port and ends with its input
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "base/units.h"
#include "region/core/payload_digest.h"
#include "sys/file.h"
#include "sys/random.h"

namespace {

using namespace vmferry;

double CpuMilliseconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

int Put(const std::string& folder, int count) {
  constexpr std::size_t kStepBytes = 256 * kKiB;
  std::vector<std::byte> content(10 * kMiB);
  sys::SystemRandom().Fill(content);
  const double before = CpuMilliseconds();
  for (int i = 0; i < count; ++i) {
    region::PayloadDigester digester;
    digester.Want(region::ChecksumKind::kMd5);
    digester.Want(region::ChecksumKind::kCrc64nvme);
    const std::string path = fmt::format("{}/{}", folder, i);
    auto file = sys::File::Open(path, sys::File::Mode::kCreateNew);
    if (!file) return 1;
    for (std::size_t offset = 0; offset < content.size(); offset += kStepBytes) {
      const auto step = std::span(content).subspan(offset, kStepBytes);
      digester.Update(step);
      if (!file->WriteAt(offset, step)) return 1;
    }
    if (!file->Sync() || digester.Finish().md5.empty()) return 1;
  }
  fmt::print("{:.3f}\n", (CpuMilliseconds() - before) / count);
  return 0;
}

void ServeConnection(int socket, int file, std::uint64_t size) {
  const std::string head = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", size);
  std::array<char, 16384> buffer;
  while (::recv(socket, buffer.data(), buffer.size(), 0) > 0) {  // one request a packet
    if (::send(socket, head.data(), head.size(), MSG_NOSIGNAL | MSG_MORE) < 0) break;
    off_t offset = 0;
    while (static_cast<std::uint64_t>(offset) < size) {
      if (::sendfile(socket, file, &offset, size - static_cast<std::uint64_t>(offset)) <= 0) break;
    }
  }
  ::close(socket);
}

int Serve(const std::string& path) {
  ::signal(SIGPIPE, SIG_IGN);
  auto file = sys::File::Open(path, sys::File::Mode::kRead);
  if (!file) return 1;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  void* untyped = &address;
  socklen_t length = sizeof(address);
  if (::bind(listener, static_cast<sockaddr*>(untyped), length) != 0 ||
      ::listen(listener, 64) != 0) {
    return 1;
  }
  ::getsockname(listener, static_cast<sockaddr*>(untyped), &length);
  fmt::print("{}\n", ntohs(address.sin_port));
  std::fflush(stdout);
  std::thread([&] {
    while (true) {
      const int socket = ::accept(listener, nullptr, nullptr);
      if (socket < 0) return;
      const int on = 1;
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      ServeConnection(socket, file->descriptor(), file->Size().value_or(0));
    }
  }).detach();
  while (std::getchar() != EOF) {
  }
  std::_Exit(0);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string mode = count > 1 ? arguments[1] : "";
  if (mode == "put" && count == 4) return Put(arguments[2], std::stoi(arguments[3]));
  if (mode == "serve" && count == 3) return Serve(arguments[2]);
  fmt::print(stderr, "usage: region_yardstick put FOLDER COUNT | serve FILE\n");
  return 2;
}
