// SPDX-License-Identifier: Apache-2.0
//
// From a record to a QEMU process.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "region/vm/instance_files.h"
#include "region/vm/instances.h"
#include "region/vm/qmp.h"

namespace vmferry::region::vm {
namespace {

constexpr int kLaunchAttempts = 3;  // a port chosen may be taken before QEMU binds it
// A volume may be attached to a running guest whose limits are set: large ones have to fit too.
constexpr std::uint64_t kFileBytesMin = 1024 * kGiB;

// A port nobody listens on at the moment; 0 when there is none.
std::uint16_t FreePort() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return 0;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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

// The variables of an instance's UEFI: a file that lives as long as the instance.
Result<void> EnsureVariables(const std::filesystem::path& file, const Sandbox& sandbox) {
  std::error_code failure;
  if (!std::filesystem::exists(kUefiCode, failure) ||
      !std::filesystem::exists(kUefiVariables, failure)) {
    return Error(ErrorCode::kFailedPrecondition, "region.no_firmware",
                 fmt::format("{} is missing: install the package ovmf", kUefiCode));
  }
  if (!std::filesystem::exists(file, failure)) {
    const std::filesystem::path part = file.string() + ".part";
    std::filesystem::copy_file(kUefiVariables, part,
                               std::filesystem::copy_options::overwrite_existing, failure);
    if (!failure) std::filesystem::rename(part, file, failure);
    if (failure) return sys::ErrnoError("copy", file, failure.value());
  }
  return sandbox.Give(file);
}

}  // namespace

// One step on the way from "to be started" to a process that answers.
Instances::Launching Instances::KeepLaunching(const Instance& instance, std::string& failure) {
  auto found = guests_.find(instance.id);
  if (found != guests_.end()) {
    if (Alive(found->second)) {
      // Up once its monitor answers: then it has bound its port and opened its disks.
      return AskQemu(Folder(instance.id) / "qmp", "query-status") ? Launching::kUp
                                                                  : Launching::kWaiting;
    }
    const int attempts = found->second.attempts;
    Forgotten(instance);
    if (attempts >= kLaunchAttempts) {
      failure = "Internal error on launch";
      return Launching::kFailed;
    }
    guests_.emplace(instance.id, Guest{.attempts = attempts});
  }
  const std::lock_guard lock(change_mutex_);
  const std::vector<Volume> volumes = VolumesOf(instance);
  if (volumes.empty()) {
    failure = "the root volume is gone";
    return Launching::kFailed;
  }
  Result<bool> claimed = ClaimAll(instance, volumes);
  if (claimed && !*claimed) return Launching::kWaiting;  // a snapshot is being made of one
  Guest& guest = guests_.try_emplace(instance.id).first->second;
  ++guest.attempts;
  const Result<void> launched = claimed ? Launch(instance, volumes, guest) : claimed.error();
  if (launched) return Launching::kWaiting;
  context_.log.Warn("instance not launched",
                    {{"instance", instance.id}, {"error", launched.error().ToString()}});
  Forgotten(instance);
  failure = launched.error().message();
  return Launching::kFailed;
}

// All of them or none.
Result<bool> Instances::ClaimAll(const Instance& instance, const std::vector<Volume>& volumes) {
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    Result<bool> claimed = disks_.Claim(volumes[i].id, VolumeUser::kInstance);
    if (claimed && *claimed) continue;
    for (std::size_t j = 0; j < i; ++j) disks_.Release(volumes[j].id);
    if (!claimed) {
      context_.log.Warn("volume not ready",
                        {{"instance", instance.id}, {"error", claimed.error().ToString()}});
    }
    return claimed;
  }
  return true;
}

Result<void> Instances::Launch(const Instance& instance, const std::vector<Volume>& volumes,
                               Guest& guest) {
  const std::filesystem::path folder = Folder(instance.id);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  VMFERRY_RETURN_IF_ERROR(sandbox_.Give(folder));
  const InstanceType type = FindInstanceType(instance.type).value_or(InstanceType{"", 2048, 1});
  const std::uint32_t memory_max =
      options_.memory_mib_max > 0 ? options_.memory_mib_max : MachineMemoryMib() / 4;
  const std::uint32_t processors_max = options_.processors_max > 0
                                           ? options_.processors_max
                                           : std::max(1U, std::thread::hardware_concurrency());
  guest.port = FreePort();
  GuestPlan plan{.instance_id = instance.id,
                 .disks = {},
                 .disk_bus = options_.disk_bus,
                 .uefi = FirmwareOf(instance.boot_mode) == BootMode::kUefi,
                 .variables_file = fmt::format("{}.nvram", instance.id),
                 .memory_mib = std::min(type.memory_mib, memory_max),
                 .processors = std::min(type.processors, processors_max),
                 .ssh_port = guest.port,
                 .private_ip = instance.private_ip,
                 .mac_address = MacAddressOf(instance.id),
                 .kvm = options_.kvm && sandbox_.KvmUsable()};
  if (plan.uefi) {
    VMFERRY_RETURN_IF_ERROR(EnsureVariables(disks_.folder() / plan.variables_file, sandbox_));
  }
  std::uint64_t file_bytes = kFileBytesMin;
  for (const Volume& volume : volumes) {
    plan.disks.push_back({.volume_id = volume.id, .file = disks_.VolumeFile(volume.id)});
    // With the tables of the file.
    file_bytes = std::max(file_bytes, volume.size_gib * (kGiB + 4 * kMiB) + kGiB);
  }
  sys::ProcessOptions process = sandbox_.Confine(
      QemuCommand(plan), disks_.folder(),
      // QEMU itself: translation buffers, stacks, the disks' tables.
      {.address_space_bytes = plan.memory_mib * kMiB + 6 * kGiB, .file_bytes = file_bytes});
  process.new_session = true;
  process.stderr_path = disks_.folder() / fmt::format("{}.log", instance.id);
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(process.stderr_path));
  VMFERRY_ASSIGN_OR_RETURN(guest.pid, sys::StartProcess(process));
  guest.start_ticks = sys::ProcessStartTicks(guest.pid).value_or(0);
  context_.log.Info("instance launched", {{"instance", instance.id},
                                          {"pid", static_cast<std::uint64_t>(guest.pid)},
                                          {"port", std::uint64_t{guest.port}},
                                          {"kvm", plan.kvm ? "yes" : "no"}});
  return sys::WriteWholeFile(PidFile(instance.id),
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

}  // namespace vmferry::region::vm
