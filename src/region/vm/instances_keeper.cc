// SPDX-License-Identifier: Apache-2.0
//
// The keeper: one thread that makes processes follow records, several times a second.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "region/vm/instance_files.h"
#include "region/vm/instances.h"

namespace vmferry::region::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{200};

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
  const auto noted = sys::ReadWholeFile(PidFile(instance.id), 64);
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
  if (auto resumed = AskQemu(Folder(instance.id) / "qmp", "cont"); !resumed) {
    context_.log.Warn("instance does not answer", {{"instance", instance.id}});
  }
  VMFERRY_RETURN_IF_ERROR(AdoptDisks(instance));
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
    if (const auto instances = Moving(); instances) {
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
                " impaired_since = 0, reboot = 0, reason_code = CASE WHEN ? = '' THEN reason_code "
                "ELSE ? END,"
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
  std::string failure;
  switch (KeepLaunching(instance, failure)) {
    case Launching::kWaiting:
      return;
    case Launching::kUp:
      return Move(instance, InstanceState::kRunning, "", "");
    case Launching::kFailed:
      return Move(instance, InstanceState::kStopped, "Server.InternalError",
                  fmt::format("Server.InternalError: {}", failure));
  }
}

// Lets go of a process that has ended.
void Instances::Forgotten(const Instance& instance) {
  if (const auto found = guests_.find(instance.id); found != guests_.end()) {
    if (found->second.probe >= 0) ::close(found->second.probe);
    guests_.erase(found);
  }
  if (const auto volumes = disks_.VolumesOf(instance.id); volumes) {
    for (const Volume& volume : *volumes) {
      disks_.ReleaseFrom(volume.id, VolumeUser::kInstance);
      // What the guest was asked to let go of, it has let go of now.
      if (volume.attach_state == AttachState::kDetaching) {
        static_cast<void>(disks_.Detach(volume.id));
      }
    }
  }
  static_cast<void>(sys::RemoveFile(PidFile(instance.id)));
  const std::lock_guard lock(mutex_);
  if (const auto forced = forced_.find(instance.id); forced != forced_.end()) {
    forced_.erase(forced);
  }
}

void Instances::SetReboot(const Instance& instance, RebootStage stage, std::uint16_t port) {
  const Result<void> set =
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute(
                "UPDATE vm_instances SET reboot = ?, ssh_port = ?, check_state = ?,"
                " impaired_since = 0 WHERE id = ? AND state = ?",
                {static_cast<int>(stage), port, static_cast<int>(CheckState::kInitializing),
                 instance.id, static_cast<int>(InstanceState::kRunning)}));
        return {};
      });
  if (!set) {
    context_.log.Warn("reboot not recorded",
                      {{"instance", instance.id}, {"error", set.error().ToString()}});
  }
}

// It stays `running` all the while, as on EC2.
void Instances::KeepRebooting(const Instance& instance) {
  const auto found = guests_.find(instance.id);
  if (instance.reboot == RebootStage::kPowerDown) {
    if (found != guests_.end() && Alive(found->second)) return PowerDown(instance, found->second);
    Forgotten(instance);
    return SetReboot(instance, RebootStage::kLaunched, 0);
  }
  std::string failure;
  switch (KeepLaunching(instance, failure)) {
    case Launching::kWaiting:
      return;
    case Launching::kUp:
      context_.log.Info("instance rebooted", {{"instance", instance.id}});
      return SetReboot(instance, RebootStage::kNone, guests_.at(instance.id).port);
    case Launching::kFailed:
      return Move(instance, InstanceState::kStopped, "Server.InternalError",
                  fmt::format("Server.InternalError: {}", failure));
  }
}

void Instances::KeepRunning(const Instance& instance) {
  if (instance.reboot != RebootStage::kNone) return KeepRebooting(instance);
  const auto found = guests_.find(instance.id);
  if (found != guests_.end() && Alive(found->second)) {
    TrimConsole(instance);
    KeepUnplugging(instance, found->second);
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
  PowerDown(instance, found->second);
}

void Instances::PowerDown(const Instance& instance, Guest& guest) {
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
  static_cast<void>(AskQemu(Folder(instance.id) / "qmp", "system_powerdown"));
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
  for (const char* suffix : {"log", "nvram"}) {
    std::filesystem::remove(disks_.folder() / fmt::format("{}.{}", instance.id, suffix), ignored);
  }
  Move(instance, InstanceState::kTerminated, "", "");
}

}  // namespace vmferry::region::vm
