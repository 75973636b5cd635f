// SPDX-License-Identifier: Apache-2.0
//
// Whether a running guest has come up, and what it has to show: console and screen.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/byte_reader.h"
#include "region/vm/instance_files.h"
#include "region/vm/instances.h"
#include "region/vm/screen.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::seconds;

constexpr std::uint64_t kConsoleFileMax = 4 * kMiB;
constexpr std::uint64_t kConsoleKept = 64 * kKiB;  // what GetConsoleOutput returns on EC2

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

}  // namespace

// EC2 asks the guest's network (ARP). Here: its address answers on port 22, be it with bytes or by
// refusing. A guest that shows a login prompt but has no network stays unreachable, as on EC2.
void Instances::Check(const Instance& instance, Guest& guest) {
  if (instance.check == CheckState::kPassed) return;
  CheckState check = instance.check;
  struct stat console = {};
  const bool console_wrote =
      ::stat((Folder(instance.id) / "console").c_str(), &console) == 0 && console.st_size > 0;
  if (NetworkAnswers(guest)) {
    check = CheckState::kPassed;
    context_.log.Debug("guest answers",
                       {{"instance", instance.id}, {"console", console_wrote ? "yes" : "silent"}});
  } else if (Now() - instance.launch_time > options_.check_patience.count()) {
    check = CheckState::kImpaired;
  }
  if (check == instance.check) return;
  const Result<void> recorded =
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute(
                "UPDATE vm_instances SET check_state = ?, impaired_since = ?"
                " WHERE id = ? AND state = ?",
                {static_cast<int>(check), check == CheckState::kImpaired ? Now() : 0, instance.id,
                 static_cast<int>(InstanceState::kRunning)}));
        return {};
      });
  if (recorded) {
    context_.log.Info("instance checked",
                      {{"instance", instance.id},
                       {"check", check == CheckState::kPassed ? "passed" : "impaired"}});
  }
}

// A forwarded port accepts before the guest does. An answer is what the guest made: a banner, or
// the end of the connection, which QEMU passes on when the guest refused it.
bool Instances::NetworkAnswers(Guest& guest) {
  const MonotonicTime now = context_.clock.MonotonicNow();
  if (guest.port == 0) return false;
  if (guest.probe < 0) {
    if (now < guest.next_probe) return false;
    guest.next_probe = now + seconds(1);
    guest.probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const sockaddr_in address = Loopback(guest.port);
    if (guest.probe >= 0 &&
        ::connect(guest.probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 &&
        errno != EINPROGRESS) {
      ::close(std::exchange(guest.probe, -1));
    }
    return false;
  }
  char byte = 0;
  const ssize_t count = ::recv(guest.probe, &byte, 1, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
    // A guest that was not there when we connected may never answer this one: begin anew.
    if (now >= guest.next_probe + seconds(4)) ::close(std::exchange(guest.probe, -1));
    return false;
  }
  ::close(std::exchange(guest.probe, -1));
  return true;
}

// A guest may write for ever; QEMU appends, so a shortened file goes on where it ends.
void Instances::TrimConsole(const Instance& instance) {
  struct stat status = {};
  const std::filesystem::path path = Folder(instance.id) / "console";
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) < kConsoleFileMax) {
    return;
  }
  const auto kept = ConsoleOutput(instance.id);
  const auto file = OpenConsole(path, O_RDWR);
  if (!kept || !file || kept->size() > kConsoleKept) return;
  if (file->Truncate(0)) static_cast<void>(file->WriteAt(0, AsBytes(*kept)));
}

Result<std::string> Instances::Screenshot(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (instance.state != InstanceState::kRunning) {
    return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                 fmt::format("the instance {} is {}", id, StateName(instance.state)));
  }
  // QEMU writes into the guest's folder, which is the unprivileged user's: no link is followed.
  const std::filesystem::path path = Folder(id) / "screen";
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const text::Json done,
      AskQemu(Folder(id) / "qmp", "screendump",
              text::Json::MakeObject().Set("filename", fmt::format("{}/screen", id))));
  const auto file = OpenConsole(path, O_RDONLY);
  if (!file) {
    return Error(ErrorCode::kUnavailable, "region.qmp_failed", "QEMU wrote no screen");
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  std::string picture(std::min<std::uint64_t>(size, kScreenBytesMax), '\0');
  VMFERRY_RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(picture))));
  static_cast<void>(sys::RemoveFile(path));
  return JpegOfPpm(picture);
}

Result<std::string> Instances::ConsoleOutput(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const Instance instance, Find(id));
  const auto file = OpenConsole(Folder(id) / "console", O_RDONLY);
  if (!file) return std::string();  // never started
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  std::string output(std::min(size, kConsoleKept), '\0');
  VMFERRY_ASSIGN_OR_RETURN(
      const std::size_t count,
      file->ReadSomeAt(size - output.size(), std::as_writable_bytes(std::span(output))));
  output.resize(count);
  return output;
}

}  // namespace vmferry::region::vm
