// SPDX-License-Identifier: Apache-2.0
//
// NbdServer: nbdkit or qemu-nbd in the background on a Unix socket or a loopback port, for as long
// as the object lives.

#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace vmferry::testing {

class NbdServer {
 public:
  NbdServer() = default;
  ~NbdServer() { Stop(); }
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  /// Starts `arguments`, which must go to the background once it listens and write its process id
  /// to `pid_file`. False when it does not.
  bool Start(const std::vector<std::string>& arguments, const std::filesystem::path& pid_file);

  /// nbdkit with these arguments on the socket; the process id lies beside it.
  bool StartNbdkit(const std::filesystem::path& socket, const std::vector<std::string>& arguments);

  /// Ends it and waits until it is gone.
  void Stop();

  /// What it said when it did not start.
  const std::string& complaint() const { return complaint_; }

 private:
  pid_t pid_ = 0;
  std::string complaint_;
};

/// A port of the loopback interface that was free a moment ago.
int FreePort();

}  // namespace vmferry::testing
