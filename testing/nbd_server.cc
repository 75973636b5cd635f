// SPDX-License-Identifier: Apache-2.0
#include "testing/nbd_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "testing/tool.h"

namespace vmferry::testing {
namespace {

/// Waits up to ten seconds for `done`.
template <typename Done>
bool WaitFor(const Done& done) {
  for (int i = 0; i < 1000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace

bool NbdServer::Start(const std::vector<std::string>& arguments,
                      const std::filesystem::path& pid_file) {
  Stop();
  std::filesystem::remove(pid_file);
  // A server in the background keeps its standard error, which RunTool would wait for.
  const std::string said = pid_file.string() + ".said";
  std::vector<std::string> command = {"sh", "-c", "exec \"$@\" >\"$0\" 2>&1", said};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const ToolOutcome outcome = RunTool(std::move(command));
  std::ifstream words(said);
  complaint_.assign(std::istreambuf_iterator<char>(words), {});
  if (!outcome.ok()) return false;
  return WaitFor([&] {
    std::ifstream in(pid_file);
    return static_cast<bool>(in >> pid_) && pid_ > 1;
  });
}

bool NbdServer::StartNbdkit(const std::filesystem::path& socket,
                            const std::vector<std::string>& arguments) {
  Stop();
  std::filesystem::remove(socket);
  const std::string pid_file = socket.string() + ".pid";
  std::vector<std::string> command = {"nbdkit", "-U", socket.string(), "-P", pid_file};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Start(command, pid_file);
}

void NbdServer::Stop() {
  if (pid_ <= 1) return;
  ::kill(pid_, SIGKILL);
  WaitFor([this] {
    // A process that has ended has no command line, also while nobody has asked for its end.
    std::ifstream command("/proc/" + std::to_string(pid_) + "/cmdline");
    return command.get() == std::ifstream::traits_type::eof();
  });
  pid_ = 0;
}

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  int port = 0;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    port = ntohs(address.sin_port);
  }
  ::close(fd);
  return port;
}

}  // namespace vmferry::testing
