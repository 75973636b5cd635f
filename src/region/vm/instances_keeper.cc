// SPDX-License-Identifier: Apache-2.0
//
// The keeper: one thread that makes processes follow records, several times a second.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "base/byte_reader.h"
#include "region/vm/instances.h"
#include "region/vm/qemu.h"
#include "region/vm/qmp.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{200};
constexpr milliseconds kQmpPatience{2000};
constexpr int kLaunchAttempts = 3;  // a port chosen may be taken before QEMU binds it
constexpr std::uint64_t kConsoleFileMax = 4 * kMiB;
constexpr std::uint64_t kConsoleKept = 64 * kKiB;

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A port nobody listens on at the moment; 0 when there is none.
std::uint16_t FreePort() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return 0;
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  std::uint16_t port = 0;
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    port = ntohs(address.sin_port);
  }
  ::close(socket);
  return port;
}

std::uint32_t MachineMemoryMib() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(pages) *
                                    static_cast<std::uint64_t>(page_bytes) / kMiB);
}

Result<void> Command(const std::filesystem::path& socket, std::string_view name) {
  VMFERRY_ASSIGN_OR_RETURN(Qmp qmp, Qmp::Connect(socket, kQmpPatience));
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::Json done, qmp.Execute(name));
  return {};
}

std::filesystem::path PidFile(const Disks& disks, std::string_view id) {
  return disks.folder() / fmt::format("{}.pid", id);
}

}  // namespace

Result<void> Instances::Start() {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Instance> instances, List());
  for (const Instance& instance : instances) VMFERRY_RETURN_IF_ERROR(Adopt(instance));
  keeper_ = std::jthread([this](std::stop_token stop) { Keep(stop); });
  return {};
}

// Finds the process of an instance again: by pid file, or, when the region was killed between
// start and pid file, by who listens on the monitor socket.
Result<void> Instances::Adopt(const Instance& instance) {
  Guest guest;
  guest.port = instance.ssh_port;
  const auto noted = sys::ReadWholeFile(PidFile(disks_, instance.id), 64);
  if (noted) {
    const std::size_t blank = noted->find(' ');
    const auto pid = ParseUint(noted->substr(0, blank));
    const auto ticks = blank == noted->npos ? std::nullopt : ParseUint(noted->substr(blank + 1));
    if (pid && ticks && sys::ProcessStartTicks(static_cast<pid_t>(*pid)) == ticks) {
      guest.pid = static_cast<pid_t>(*pid);
      guest.start_ticks = *ticks;
    }
  }
  if (guest.pid == 0) {
    if (auto qmp = Qmp::Connect(Folder(instance.id) / "qmp", kQmpPatience); qmp) {
      guest.pid = qmp->peer();
      guest.start_ticks = sys::ProcessStartTicks(guest.pid).value_or(0);
    }
  }
  if (guest.pid == 0 || !Alive(guest)) return {};
  // The region may have died while a snapshot held the guest.
  if (auto resumed = Command(Folder(instance.id) / "qmp", "cont"); !resumed) {
    context_.log.Warn("instance does not answer", {{"instance", instance.id}});
  }
  if (const auto root = RootOf(instance.id)) {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const bool claimed,
                             disks_.Claim(root->id, VolumeUser::kInstance));
  }
  context_.log.Info("instance adopted",
                    {{"instance", instance.id}, {"pid", static_cast<std::uint64_t>(guest.pid)}});
  guests_.emplace(instance.id, guest);
  return {};
}

void Instances::Stop(const OpContext& context) {
  keeper_.request_stop();
  poked_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  const auto instances = List();
  if (!instances) return;
  for (const Instance& instance : *instances) {
    if (!guests_.contains(instance.id)) continue;
    if (instance.state == InstanceState::kRunning || instance.state == InstanceState::kPending) {
      // Only what runs can be asked to stop.
      if (instance.state == InstanceState::kPending) {
        Move(instance, InstanceState::kRunning, "", "");
      }
      static_cast<void>(Request(instance.id, InstanceState::kStopping, "Server.ScheduledStop",
                                "Server.ScheduledStop: the region was stopped"));
    }
  }
  while (!guests_.empty()) {
    const auto now = List();
    if (!now) return;
    const bool late =
        context.deadline.Passed(context_.clock.MonotonicNow()) || context.stop.stop_requested();
    for (const Instance& instance : *now) {
      if (late && guests_.contains(instance.id)) Kill(guests_.find(instance.id)->second);
      KeepOne(instance);
    }
    if (!guests_.empty()) context_.clock.SleepFor(kTick, {});
  }
}

void Instances::Keep(std::stop_token stop) {
  while (!stop.stop_requested()) {
    if (const auto instances = List(); instances) {
      for (const Instance& instance : *instances) KeepOne(instance);
    }
    std::unique_lock lock(mutex_);
    poked_.wait_for(lock, stop, kTick, [this] { return poke_; });
    poke_ = false;
  }
}

void Instances::KeepOne(const Instance& instance) {
  switch (instance.state) {
    case InstanceState::kPending:
      return KeepPending(instance);
    case InstanceState::kRunning:
      return KeepRunning(instance);
    case InstanceState::kStopping:
      return KeepStopping(instance);
    case InstanceState::kShuttingDown:
      return KeepShuttingDown(instance);
    case InstanceState::kStopped:
    case InstanceState::kTerminated:
      return;
  }
}

void Instances::Move(const Instance& from, InstanceState to, std::string_view reason_code,
                     std::string_view reason_message) {
  const bool runs = to == InstanceState::kRunning;
  const auto guest = guests_.find(from.id);
  const int port = runs && guest != guests_.end() ? guest->second.port : 0;
  const Result<void> moved =
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute(
                "UPDATE vm_instances SET state = ?, ssh_port = ?, check_state = ?,"
                " impaired_since = 0, reason_code = CASE WHEN ? = '' THEN reason_code ELSE ? END,"
                " reason_message = CASE WHEN ? = '' THEN reason_message ELSE ? END"
                " WHERE id = ? AND state = ?",
                {static_cast<int>(to), port, static_cast<int>(CheckState::kInitializing),
                 reason_code, reason_code, reason_message, reason_message, from.id,
                 static_cast<int>(from.state)}));
        return {};
      });
  if (!moved) {
    // The next tick tries again.
    context_.log.Warn("instance state not recorded",
                      {{"instance", from.id}, {"error", moved.error().ToString()}});
    return;
  }
  context_.log.Info("instance changed", {{"instance", from.id}, {"to", StateName(to)}});
}

void Instances::KeepPending(const Instance& instance) {
  auto found = guests_.find(instance.id);
  if (found != guests_.end()) {
    if (Alive(found->second)) {
      // Up once its monitor answers: then it has bound its port and opened its disk.
      if (Command(Folder(instance.id) / "qmp", "query-status")) {
        return Move(instance, InstanceState::kRunning, "", "");
      }
      return;
    }
    const int attempts = found->second.attempts;
    Forgotten(instance);
    if (attempts >= kLaunchAttempts) {
      return Move(instance, InstanceState::kStopped, "Server.InternalError",
                  "Server.InternalError: Internal error on launch");
    }
    found = guests_.emplace(instance.id, Guest{.attempts = attempts}).first;
    found->second.pid = 0;
  }
  const auto root = RootOf(instance.id);
  if (!root) {
    return Move(instance, InstanceState::kStopped, "Server.InternalError",
                "Server.InternalError: the root volume is gone");
  }
  const auto claimed = disks_.Claim(root->id, VolumeUser::kInstance);
  if (claimed && !*claimed) return;  // a snapshot is being made of it: next time
  Guest& guest = guests_.try_emplace(instance.id).first->second;
  ++guest.attempts;
  Result<void> launched = claimed ? Launch(instance, *root, guest) : claimed.error();
  if (!launched) {
    context_.log.Warn("instance not launched",
                      {{"instance", instance.id}, {"error", launched.error().ToString()}});
    Forgotten(instance);
    Move(instance, InstanceState::kStopped, "Server.InternalError",
         fmt::format("Server.InternalError: {}", launched.error().message()));
  }
}

Result<void> Instances::Launch(const Instance& instance, const Volume& root, Guest& guest) {
  const std::filesystem::path folder = Folder(instance.id);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  VMFERRY_RETURN_IF_ERROR(sandbox_.Give(folder));
  if (!root.snapshot_id.empty()) {
    VMFERRY_RETURN_IF_ERROR(sandbox_.Share(disks_.folder() / (root.snapshot_id + ".raw")));
  }
  const InstanceType type = FindInstanceType(instance.type).value_or(InstanceType{"", 2048, 1});
  const std::uint32_t memory_max =
      options_.memory_mib_max > 0 ? options_.memory_mib_max : MachineMemoryMib() / 4;
  const std::uint32_t processors_max = options_.processors_max > 0
                                           ? options_.processors_max
                                           : std::max(1U, std::thread::hardware_concurrency());
  guest.port = FreePort();
  const GuestPlan plan{.instance_id = instance.id,
                       .volume_id = root.id,
                       .volume_file = disks_.VolumeFile(root.id),
                       .memory_mib = std::min(type.memory_mib, memory_max),
                       .processors = std::min(type.processors, processors_max),
                       .ssh_port = guest.port,
                       .kvm = options_.kvm && sandbox_.KvmUsable()};
  sys::ProcessOptions process =
      sandbox_.Confine(QemuCommand(plan), disks_.folder(),
                       // QEMU itself: translation buffers, stacks, the disk's tables.
                       {.address_space_bytes = plan.memory_mib * kMiB + 6 * kGiB,
                        .file_bytes = root.size_gib * kGiB + root.size_gib * 4 * kMiB + kGiB});
  process.new_session = true;
  process.stderr_path = disks_.folder() / fmt::format("{}.log", instance.id);
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(process.stderr_path));
  VMFERRY_ASSIGN_OR_RETURN(guest.pid, sys::StartProcess(process));
  guest.start_ticks = sys::ProcessStartTicks(guest.pid).value_or(0);
  context_.log.Info("instance launched", {{"instance", instance.id},
                                          {"pid", static_cast<std::uint64_t>(guest.pid)},
                                          {"port", std::uint64_t{guest.port}},
                                          {"kvm", plan.kvm ? "yes" : "no"}});
  return sys::WriteWholeFile(PidFile(disks_, instance.id),
                             fmt::format("{} {}", guest.pid, guest.start_ticks));
}

bool Instances::Alive(Guest& guest) {
  if (guest.pid <= 0) return false;
  int status = 0;
  if (::waitpid(guest.pid, &status, WNOHANG) == guest.pid) return false;
  return sys::ProcessRuns(guest.pid) && sys::ProcessStartTicks(guest.pid) == guest.start_ticks;
}

void Instances::Kill(Guest& guest) {
  if (Alive(guest)) ::kill(guest.pid, SIGKILL);
}

// Lets go of a process that has ended.
void Instances::Forgotten(const Instance& instance) {
  if (const auto found = guests_.find(instance.id); found != guests_.end()) {
    if (found->second.probe >= 0) ::close(found->second.probe);
    guests_.erase(found);
  }
  if (const auto root = RootOf(instance.id)) disks_.Release(root->id);
  static_cast<void>(sys::RemoveFile(PidFile(disks_, instance.id)));
  const std::lock_guard lock(mutex_);
  if (const auto forced = forced_.find(instance.id); forced != forced_.end()) {
    forced_.erase(forced);
  }
}

void Instances::KeepRunning(const Instance& instance) {
  const auto found = guests_.find(instance.id);
  if (found != guests_.end() && Alive(found->second)) {
    TrimConsole(instance);
    return Check(instance, found->second);
  }
  // The guest powered off by itself, or QEMU died.
  Forgotten(instance);
  constexpr std::string_view kCode = "Client.InstanceInitiatedShutdown";
  constexpr std::string_view kMessage =
      "Client.InstanceInitiatedShutdown: Instance initiated shutdown";
  Move(instance,
       instance.terminate_on_shutdown ? InstanceState::kShuttingDown : InstanceState::kStopped,
       kCode, kMessage);
}

void Instances::KeepStopping(const Instance& instance) {
  const auto found = guests_.find(instance.id);
  if (found == guests_.end() || !Alive(found->second)) {
    Forgotten(instance);
    return Move(instance, InstanceState::kStopped, "", "");
  }
  Guest& guest = found->second;
  const MonotonicTime now = context_.clock.MonotonicNow();
  if (!guest.stop_deadline) guest.stop_deadline = now + options_.stop_patience;
  bool forced = now >= *guest.stop_deadline;
  {
    const std::lock_guard lock(mutex_);
    forced = forced || forced_.contains(instance.id);
  }
  if (forced) return Kill(guest);
  if (now < guest.next_powerdown) return;
  // Again every few seconds: a guest that is still booting ignores the first.
  guest.next_powerdown = now + seconds(5);
  static_cast<void>(Command(Folder(instance.id) / "qmp", "system_powerdown"));
}

void Instances::KeepShuttingDown(const Instance& instance) {
  if (const auto found = guests_.find(instance.id);
      found != guests_.end() && Alive(found->second)) {
    return Kill(found->second);
  }
  Forgotten(instance);
  // Not yet while a snapshot is being made of its volume.
  if (!disks_.ReleaseAll(instance.id)) return;
  std::error_code ignored;
  std::filesystem::remove_all(Folder(instance.id), ignored);
  std::filesystem::remove(disks_.folder() / fmt::format("{}.log", instance.id), ignored);
  Move(instance, InstanceState::kTerminated, "", "");
}

void Instances::Check(const Instance& instance, Guest& guest) {
  if (instance.check == CheckState::kPassed) return;
  CheckState check = instance.check;
  if (BannerArrived(guest) || LoginPrompted(instance, guest)) {
    check = CheckState::kPassed;
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

// A forwarded port accepts before the guest does: only bytes received count.
bool Instances::BannerArrived(Guest& guest) {
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
  return count > 0;
}

bool Instances::LoginPrompted(const Instance& instance, Guest& guest) {
  struct stat status = {};
  if (::stat((Folder(instance.id) / "console").c_str(), &status) != 0) return false;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size == guest.console_seen) return false;
  guest.console_seen = size;
  const auto output = ConsoleOutput(instance.id);
  return output && output->find("login:") != std::string::npos;
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

}  // namespace vmferry::region::vm
