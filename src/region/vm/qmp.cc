// SPDX-License-Identifier: Apache-2.0
#include "region/vm/qmp.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vmferry::region::vm {
namespace {

constexpr std::size_t kMessageMax = 1 << 20;  // answers of the commands we use are far smaller

Error Failed(std::string_view action, int error_number) {
  return Error(ErrorCode::kUnavailable, "region.qmp_failed",
               fmt::format("cannot {} QEMU's monitor: {}", action, std::strerror(error_number)));
}

}  // namespace

Result<Qmp> Qmp::Connect(const std::filesystem::path& socket_path,
                         std::chrono::milliseconds patience) {
  // A socket's name holds 107 bytes, folders can be longer: reach it through the open folder.
  const int folder =
      ::open(socket_path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (folder < 0) return Failed("find", errno);
  const std::string name =
      fmt::format("/proc/self/fd/{}/{}", folder, socket_path.filename().string());
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0 || name.size() >= sizeof(address.sun_path)) {
    const int failure = errno;
    ::close(folder);
    if (socket >= 0) ::close(socket);
    return Failed("reach", failure);
  }
  Qmp qmp(socket, patience);
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  const int failure =
      ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ? 0
                                                                                           : errno;
  ::close(folder);
  if (failure != 0) return Failed("connect to", failure);
  timeval timeout = {};
  timeout.tv_sec = patience.count() / 1000;
  timeout.tv_usec = (patience.count() % 1000) * 1000;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) {
    qmp.peer_ = credentials.pid;
  }
  VMFERRY_ASSIGN_OR_RETURN(const text::Json greeting, qmp.NextMessage());
  if (greeting["QMP"].IsNull()) return Failed("understand", EPROTO);
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::Json agreed,
                           qmp.Execute("qmp_capabilities"));
  return qmp;
}

Qmp::Qmp(Qmp&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)),
      patience_(other.patience_),
      peer_(other.peer_),
      buffer_(std::move(other.buffer_)) {}

Qmp::~Qmp() {
  if (socket_ >= 0) ::close(socket_);
}

Result<text::Json> Qmp::NextMessage() {
  while (true) {
    const std::size_t end = buffer_.find('\n');
    if (end != buffer_.npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return text::Json::Parse(line, kMessageMax);
    }
    if (buffer_.size() > kMessageMax) return Failed("understand", EMSGSIZE);
    std::array<char, 4096> piece;
    const ssize_t count = ::recv(socket_, piece.data(), piece.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return Failed("read from", count == 0 ? ECONNRESET : errno);
    buffer_.append(piece.data(), static_cast<std::size_t>(count));
  }
}

Result<text::Json> Qmp::Execute(std::string_view command, const text::Json& arguments) {
  text::Json request = text::Json::MakeObject();
  request.Set("execute", command);
  if (!arguments.IsNull()) request.Set("arguments", arguments);
  const std::string line = request.Dump() + "\n";
  if (::send(socket_, line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    return Failed("write to", errno);
  }
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const text::Json message, NextMessage());
    for (const auto& [name, value] : message.Members()) {
      if (name == "return") return value;
      if (name == "error") {
        return Error(ErrorCode::kFailedPrecondition, "region.qmp_refused",
                     fmt::format("QEMU refused {}: {}", command, value["desc"].AsString()));
      }
    }
  }
}

}  // namespace vmferry::region::vm
