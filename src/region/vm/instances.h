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
#include "region/vm/images.h"
#include "region/vm/qemu.h"
#include "region/vm/states.h"

namespace vmferry::region::vm {

/// Of a running instance that was asked to reboot. Stored in the database: never renumber.
enum class RebootStage : std::uint8_t {
  kNone = 0,
  kPowerDown = 1,  ///< its power button was pressed
  kLaunched = 2,   ///< its process was started anew and has not answered yet
};

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
  std::string key_name;        ///< empty: none
  std::string client_token;
  std::uint32_t launch_index = 0;         ///< in its reservation, from 0
  BootMode boot_mode = BootMode::kUnset;  ///< the machine image's
  std::string root_device = "/dev/sda1";  ///< where the disk it boots from is attached
  bool ena_support = false;
  bool disable_api_termination = false;
  bool disable_api_stop = false;
  bool source_dest_check = true;
  bool ebs_optimized = false;
  RebootStage reboot = RebootStage::kNone;
};

/// What RunInstances makes: instances of one reservation and their disks.
struct LaunchRequest {
  Instance instance;             ///< of each; id, state, times, address and index are set for it
  std::uint32_t count_min = 1;   ///< fewer than this: none
  std::uint32_t count = 1;       ///< as many as there is room for
  std::string private_ip;        ///< of a single instance; empty: any free one
  std::vector<ImageDisk> disks;  ///< in the order in which the guest finds them
  TagMap instance_tags;
  TagMap volume_tags;
  std::string user_data;         ///< base64, as it was sent
  std::string token_parameters;  ///< what instance.client_token stands for
};

struct InstancesOptions {
  /// Larger instance types get this much. 0: a quarter of the machine's memory.
  std::uint32_t memory_mib_max = 0;
  /// 0: the machine's processors.
  std::uint32_t processors_max = 0;
  /// How long a guest may take to power down before it is switched off.
  std::chrono::seconds stop_patience{60};
  /// How long a guest may take to come up before it counts as impaired. Software emulation is slow.
  std::chrono::seconds check_patience{600};
  /// Use /dev/kvm when it can be opened. Off for machines where it opens but crawls (seen on a
  /// nested one: no login prompt within a minute, against 20 s of software emulation).
  bool kvm = true;
  /// How guests see their disks. NVMe is what EC2 has.
  DiskBus disk_bus = DiskBus::kNvme;
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
  /// Records pending instances with their disks and begins to start them. The same client token
  /// gives the same instances again.
  /// Errors: kInvalidArgument region.client_token_reused, region.volume_too_small;
  /// kAlreadyExists region.address_in_use; kResourceExhausted region.too_many_instances; kNotFound
  /// region.no_such_snapshot; kFailedPrecondition region.wrong_state.
  Result<std::vector<Instance>> Run(const LaunchRequest& request);
  Result<std::string> UserData(std::string_view id);
  /// Changes what ModifyInstanceAttribute changes: all fields but id, state, times and checks.
  Result<void> Update(const Instance& instance);
  Result<void> SetUserData(std::string_view id, std::string_view user_data);
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

  /// Presses the power button and starts the guest again when it has powered off, or after
  /// `stop_patience`. Nothing for one that is on its way already.
  /// Errors: kNotFound region.no_such_instance; kFailedPrecondition region.wrong_state.
  Result<void> RebootInstance(std::string_view id);

  /// Attaches an available volume to a stopped or running instance; a running guest finds it at
  /// once. Errors: those of Disks::Attach; kFailedPrecondition region.wrong_state (of the
  /// instance), region.qmp_refused; kResourceExhausted region.too_many_disks; kUnimplemented
  /// region.no_hot_plug.
  Result<Volume> AttachVolume(std::string_view volume_id, std::string_view instance_id,
                              std::string_view device);
  /// Detaches a volume: of a stopped instance at once, of a running one when the guest has let go
  /// of it. Errors: as AttachVolume; kFailedPrecondition region.root_volume (of a running one).
  Result<Volume> DetachVolume(std::string_view volume_id);

  /// What is on the guest's screen, as JPEG.
  /// Errors: kNotFound region.no_such_instance; kFailedPrecondition region.wrong_state (it does not
  /// run); kUnavailable region.qmp_failed; kDataLoss region.bad_screen.
  Result<std::string> Screenshot(std::string_view id);

  /// The last 64 KiB that the guest wrote to its serial console since its last start.
  Result<std::string> ConsoleOutput(std::string_view id);

 private:
  /// What the keeper knows about one process. Not stored.
  struct Guest {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
    std::uint16_t port = 0;
    int probe = -1;  ///< connection to the forwarded port on which an answer is awaited
    MonotonicTime next_probe = {};
    MonotonicTime next_powerdown = {};
    MonotonicTime next_unplug = {};
    std::optional<MonotonicTime> stop_deadline;
    int attempts = 0;
  };
  enum class Launching { kWaiting, kUp, kFailed };

  Instances(Context& context, const Sandbox& sandbox, Disks& disks, InstancesOptions options);

  static Result<std::vector<Instance>> ListIn(Transaction& transaction, std::string_view condition,
                                              std::vector<SqlValue> values);
  static Result<void> SetUserDataIn(Transaction& transaction, std::string_view id,
                                    std::string_view user_data);
  /// Those that are neither stopped nor terminated: what the keeper looks after.
  Result<std::vector<Instance>> Moving();

  // instances_run.cc
  Result<std::vector<Instance>> RunIn(Transaction& transaction, const LaunchRequest& request);
  Result<void> AddWithDisks(Transaction& transaction, const Instance& instance,
                            const LaunchRequest& request);

  // instances_keeper.cc
  void Keep(std::stop_token stop);
  void KeepOne(const Instance& instance);
  void KeepPending(const Instance& instance);
  void KeepRunning(const Instance& instance);
  void KeepRebooting(const Instance& instance);
  void KeepStopping(const Instance& instance);
  void KeepShuttingDown(const Instance& instance);
  /// Presses the power button now and then, and switches off in the end.
  void PowerDown(const Instance& instance, Guest& guest);
  Result<void> Adopt(const Instance& instance);
  void Forgotten(const Instance& instance);
  /// Moves the record if it is still in `from`; `detail` fields are written with it.
  void Move(const Instance& from, InstanceState to, std::string_view reason_code,
            std::string_view reason_message);
  void SetReboot(const Instance& instance, RebootStage stage, std::uint16_t port);

  // instances_launch.cc
  Launching KeepLaunching(const Instance& instance, std::string& failure);
  Result<bool> ClaimAll(const Instance& instance, const std::vector<Volume>& volumes);
  Result<void> Launch(const Instance& instance, const std::vector<Volume>& volumes, Guest& guest);
  bool Alive(Guest& guest);
  void Kill(Guest& guest);

  // instances_checks.cc
  void Check(const Instance& instance, Guest& guest);
  bool NetworkAnswers(Guest& guest);
  void TrimConsole(const Instance& instance);

  // instances_disks.cc
  Result<void> PlugIn(const Instance& instance, const Volume& volume);
  void KeepUnplugging(const Instance& instance, Guest& guest);
  Result<void> AdoptDisks(const Instance& instance);

  /// All attached, the root first; empty when there is no root.
  std::vector<Volume> VolumesOf(const Instance& instance);
  Result<Change> Request(std::string_view id, InstanceState to, std::string_view reason_code,
                         std::string_view reason_message);
  void Poke();
  std::filesystem::path Folder(std::string_view id) const { return disks_.folder() / id; }
  std::filesystem::path PidFile(std::string_view id) const {
    return disks_.folder() / (std::string(id) + ".pid");
  }
  std::int64_t Now() const;

  Context& context_;
  const Sandbox& sandbox_;
  Disks& disks_;
  const InstancesOptions options_;

  std::map<std::string, Guest, std::less<>> guests_;  // the keeper's own

  std::mutex change_mutex_;  // so that no disk is attached between a start and its command line
  std::mutex mutex_;         // std's own: the wait cannot be annotated. Guards what follows.
  std::condition_variable_any poked_;
  bool poke_ = false;
  std::set<std::string, std::less<>> forced_;  // instances to switch off without asking
  std::jthread keeper_;                        // last: joined before the rest goes
};

}  // namespace vmferry::region::vm
