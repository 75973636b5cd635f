// SPDX-License-Identifier: Apache-2.0
//
// Instances: records of instances and the QEMU processes behind the running ones.
//
// Callers move the record (Start, Stop, Terminate); one keeper thread makes the process follow and
// moves the record on when it has. So a restart of the region needs nothing special: QEMU processes
// outlive it and are found again by pid file (pid and start time) or by their monitor socket.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "region/core/context.h"
#include "region/core/service.h"
#include "region/vm/disks.h"
#include "region/vm/states.h"

namespace vmferry::region::vm {

struct Instance {
  std::string id;
  InstanceState state = InstanceState::kStopped;
  std::string type;          ///< "t3.small"
  std::string architecture;  ///< "x86_64", "i386"
  std::string platform;      ///< "Linux", "Windows"
  std::string image_id;
  std::string reservation_id;
  std::string subnet_id;
  std::string private_ip;
  std::string group_id;
  std::string zone;
  std::int64_t launch_time = 0;
  bool terminate_on_shutdown = false;  ///< InstanceInitiatedShutdownBehavior
  std::string reason_code;             ///< "Client.UserInitiatedShutdown"
  std::string reason_message;
  CheckState check = CheckState::kInitializing;
  std::int64_t impaired_since = 0;
  std::uint16_t ssh_port = 0;  ///< on 127.0.0.1 while running; 0: none
};

struct InstancesOptions {
  /// Larger instance types get this much. 0: a quarter of the machine's memory.
  std::uint32_t memory_mib_max = 0;
  /// 0: the machine's processors.
  std::uint32_t processors_max = 0;
  /// How long a guest may take to power down before it is switched off.
  std::chrono::seconds stop_patience{60};
  /// How long a guest may take to come up before it counts as impaired.
  std::chrono::seconds check_patience{600};
  /// Use /dev/kvm when it can be opened. Off for machines where it opens but crawls (seen on a
  /// nested one: no login prompt within a minute, against 20 s of software emulation).
  bool kvm = true;
};

/// Opens a file that lies in a folder of the unprivileged user's; links are not followed. Nothing
/// when it is not there.
std::optional<sys::File> OpenConsole(const std::filesystem::path& path, int flags);

class Instances final : public Component {
 public:
  /// `context`, `sandbox` and `disks` outlive it.
  static Result<std::unique_ptr<Instances>> Open(Context& context, const Sandbox& sandbox,
                                                 Disks& disks, InstancesOptions options);
  ~Instances() override;

  // Component. Stop powers guests down in order, all at once; what did not end by the deadline is
  // switched off. Their records become `stopped`.
  std::string_view Name() const override { return "instances"; }
  Result<void> Start() override;
  void Stop(const OpContext& context) override;

  Result<std::vector<Instance>> List();
  /// Errors: kNotFound region.no_such_instance.
  Result<Instance> Find(std::string_view id);
  /// Records a stopped instance; `id` and all facts are the caller's.
  Result<void> Add(const Instance& instance, const TagMap& tags);
  /// The same inside a transaction of the caller's.
  static Result<void> AddIn(Transaction& transaction, const Instance& instance, const TagMap& tags);
  /// Removes the record and its tags, whatever the state: for cancelled imports.
  Result<void> Forget(std::string_view id);

  struct Change {
    InstanceState previous;
    InstanceState current;
  };
  /// Errors: kNotFound region.no_such_instance; kFailedPrecondition region.no_root_volume,
  /// region.wrong_state.
  Result<Change> StartInstance(std::string_view id);
  Result<Change> StopInstance(std::string_view id, bool force);
  Result<Change> TerminateInstance(std::string_view id);

  /// The last 64 KiB that the guest wrote to its serial console since its last start.
  Result<std::string> ConsoleOutput(std::string_view id);

 private:
  /// What the keeper knows about one process. Not stored.
  struct Guest {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    std::uint16_t port = 0;
    int probe = -1;  ///< connection to the forwarded port on which a banner is awaited
    MonotonicTime next_probe = {};
    MonotonicTime next_powerdown = {};
    std::optional<MonotonicTime> stop_deadline;
    std::uint64_t console_seen = 0;
    int attempts = 0;
  };

  Instances(Context& context, const Sandbox& sandbox, Disks& disks, InstancesOptions options);

  void Keep(std::stop_token stop);
  void KeepOne(const Instance& instance);
  void KeepPending(const Instance& instance);
  void KeepRunning(const Instance& instance);
  void KeepStopping(const Instance& instance);
  void KeepShuttingDown(const Instance& instance);
  void Check(const Instance& instance, Guest& guest);
  bool BannerArrived(Guest& guest);
  bool LoginPrompted(const Instance& instance, Guest& guest);
  void TrimConsole(const Instance& instance);

  Result<void> Adopt(const Instance& instance);
  Result<void> Launch(const Instance& instance, const Volume& root, Guest& guest);
  bool Alive(Guest& guest);
  void Kill(Guest& guest);
  void Forgotten(const Instance& instance);
  std::optional<Volume> RootOf(std::string_view instance_id);
  /// Moves the record if it is still in `from`; `detail` fields are written with it.
  void Move(const Instance& from, InstanceState to, std::string_view reason_code,
            std::string_view reason_message);
  Result<Change> Request(std::string_view id, InstanceState to, std::string_view reason_code,
                         std::string_view reason_message);
  std::filesystem::path Folder(std::string_view id) const { return disks_.folder() / id; }
  std::int64_t Now() const;

  Context& context_;
  const Sandbox& sandbox_;
  Disks& disks_;
  const InstancesOptions options_;

  std::map<std::string, Guest, std::less<>> guests_;  // the keeper's own

  std::mutex mutex_;  // std's own: the wait cannot be annotated. Guards what follows.
  std::condition_variable_any poked_;
  bool poke_ = false;
  std::set<std::string, std::less<>> forced_;  // instances to switch off without asking
  std::jthread keeper_;                        // last: joined before the rest goes
};

}  // namespace vmferry::region::vm
