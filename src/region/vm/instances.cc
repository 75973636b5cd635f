// SPDX-License-Identifier: Apache-2.0
//
// Records of instances and what callers ask of them. The keeper is in instances_keeper.cc.
#include "region/vm/instances.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_instances (id TEXT PRIMARY KEY, state INTEGER NOT NULL, type TEXT NOT NULL,"
    " architecture TEXT NOT NULL, platform TEXT NOT NULL, image_id TEXT NOT NULL, reservation_id"
    " TEXT NOT NULL, subnet_id TEXT NOT NULL, private_ip TEXT NOT NULL, group_id TEXT NOT NULL,"
    " zone TEXT NOT NULL, launch_time INTEGER NOT NULL, terminate_on_shutdown INTEGER NOT NULL,"
    " reason_code TEXT NOT NULL, reason_message TEXT NOT NULL, check_state INTEGER NOT NULL,"
    " impaired_since INTEGER NOT NULL, ssh_port INTEGER NOT NULL)",
};

constexpr std::string_view kColumns =
    "id, state, type, architecture, platform, image_id, reservation_id, subnet_id, private_ip,"
    " group_id, zone, launch_time, terminate_on_shutdown, reason_code, reason_message,"
    " check_state, impaired_since, ssh_port";

constexpr std::uint64_t kConsoleBytes = 64 * kKiB;  // what GetConsoleOutput returns on EC2

Instance InstanceOf(const SqlRow& row) {
  return Instance{.id = row.Text(0),
                  .state = static_cast<InstanceState>(row.Int(1)),
                  .type = row.Text(2),
                  .architecture = row.Text(3),
                  .platform = row.Text(4),
                  .image_id = row.Text(5),
                  .reservation_id = row.Text(6),
                  .subnet_id = row.Text(7),
                  .private_ip = row.Text(8),
                  .group_id = row.Text(9),
                  .zone = row.Text(10),
                  .launch_time = row.Int(11),
                  .terminate_on_shutdown = row.Int(12) != 0,
                  .reason_code = row.Text(13),
                  .reason_message = row.Text(14),
                  .check = static_cast<CheckState>(row.Int(15)),
                  .impaired_since = row.Int(16),
                  .ssh_port = static_cast<std::uint16_t>(row.Int(17))};
}

Result<Instance> FindIn(Transaction& transaction, std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query(fmt::format("SELECT {} FROM vm_instances WHERE id = ?", kColumns), {id}));
  if (found.empty()) {
    return Error(ErrorCode::kNotFound, "region.no_such_instance",
                 fmt::format("the instance {} does not exist", id));
  }
  return InstanceOf(found[0]);
}

}  // namespace

// The folder belongs to the unprivileged user: a link in the console's place is not followed.
std::optional<sys::File> OpenConsole(const std::filesystem::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  return sys::File::FromDescriptor(descriptor, path);
}

Instances::Instances(Context& context, const Sandbox& sandbox, Disks& disks,
                     InstancesOptions options)
    : context_(context), sandbox_(sandbox), disks_(disks), options_(options) {}

Instances::~Instances() {
  keeper_.request_stop();
  poked_.notify_all();
}

Result<std::unique_ptr<Instances>> Instances::Open(Context& context, const Sandbox& sandbox,
                                                   Disks& disks, InstancesOptions options) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_instances", kSchema));
  return std::unique_ptr<Instances>(new Instances(context, sandbox, disks, options));
}

std::int64_t Instances::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

Result<std::vector<Instance>> Instances::List() {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      context_.database.WithTransaction([](Transaction& transaction) {
        return transaction.Query(fmt::format("SELECT {} FROM vm_instances ORDER BY id", kColumns));
      }));
  std::vector<Instance> instances;
  for (const SqlRow& row : found) instances.push_back(InstanceOf(row));
  return instances;
}

Result<Instance> Instances::Find(std::string_view id) {
  return context_.database.WithTransaction(
      [&](Transaction& transaction) { return FindIn(transaction, id); });
}

Result<void> Instances::Add(const Instance& instance, const TagMap& tags) {
  return context_.database.WithTransaction(
      [&](Transaction& transaction) { return AddIn(transaction, instance, tags); });
}

Result<void> Instances::AddIn(Transaction& transaction, const Instance& instance,
                              const TagMap& tags) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute(
          "INSERT INTO vm_instances VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,0)",
          {instance.id, static_cast<int>(instance.state), instance.type, instance.architecture,
           instance.platform, instance.image_id, instance.reservation_id, instance.subnet_id,
           instance.private_ip, instance.group_id, instance.zone, instance.launch_time,
           instance.terminate_on_shutdown, instance.reason_code, instance.reason_message}));
  return Tags::SetIn(transaction, instance.id, tags);
}

Result<void> Instances::Forget(std::string_view id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                             transaction.Execute("DELETE FROM vm_instances WHERE id = ?", {id}));
    return Tags::RemoveIn(transaction, id);
  });
}

std::optional<Volume> Instances::RootOf(std::string_view instance_id) {
  const auto volumes = disks_.ListVolumes();
  if (!volumes) return std::nullopt;
  const auto found = std::find_if(volumes->begin(), volumes->end(), [&](const Volume& volume) {
    return volume.instance_id == instance_id && volume.state == VolumeState::kInUse;
  });
  if (found == volumes->end()) return std::nullopt;
  return *found;
}

Result<Instances::Change> Instances::Request(std::string_view id, InstanceState to,
                                             std::string_view reason_code,
                                             std::string_view reason_message) {
  VMFERRY_ASSIGN_OR_RETURN(
      const Change change,
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<Change> {
        VMFERRY_ASSIGN_OR_RETURN(const Instance instance, FindIn(transaction, id));
        if (!MayFollow(instance.state, to)) {
          return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                       fmt::format("the instance {} is {}", id, StateName(instance.state)));
        }
        const bool starts = to == InstanceState::kPending;
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute("UPDATE vm_instances SET state = ?, launch_time = ?,"
                                " reason_code = ?, reason_message = ? WHERE id = ?",
                                {static_cast<int>(to), starts ? Now() : instance.launch_time,
                                 reason_code, reason_message, id}));
        return Change{instance.state, to};
      }));
  context_.log.Info("instance asked to change", {{"instance", id}, {"to", StateName(to)}});
  {
    const std::lock_guard lock(mutex_);
    poke_ = true;
  }
  poked_.notify_all();
  return change;
}

Result<Instances::Change> Instances::StartInstance(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (instance.state == InstanceState::kRunning || instance.state == InstanceState::kPending) {
    return Change{instance.state, instance.state};
  }
  if (instance.state == InstanceState::kStopped && !RootOf(id)) {
    // AWS, VM Import troubleshooting: the text of StartInstances before the import has ended.
    return Error(ErrorCode::kFailedPrecondition, "region.no_root_volume",
                 fmt::format("Invalid value {} for instanceId. Instance does not have a volume "
                             "attached at root (/dev/sda1).",
                             id));
  }
  return Request(id, InstanceState::kPending, "", "");
}

Result<Instances::Change> Instances::StopInstance(std::string_view id, bool force) {
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (force && instance.state != InstanceState::kStopped) {
    const std::lock_guard lock(mutex_);
    forced_.insert(std::string(id));
    poke_ = true;
  }
  if (instance.state == InstanceState::kStopped || instance.state == InstanceState::kStopping) {
    return Change{instance.state, instance.state};
  }
  return Request(id, InstanceState::kStopping, "Client.UserInitiatedShutdown",
                 "Client.UserInitiatedShutdown: User initiated shutdown");
}

Result<Instances::Change> Instances::TerminateInstance(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (instance.state == InstanceState::kShuttingDown ||
      instance.state == InstanceState::kTerminated) {
    return Change{instance.state, instance.state};
  }
  return Request(id, InstanceState::kShuttingDown, "Client.UserInitiatedShutdown",
                 "Client.UserInitiatedShutdown: User initiated shutdown");
}

Result<std::string> Instances::ConsoleOutput(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const Instance instance, Find(id));
  const auto file = OpenConsole(Folder(id) / "console", O_RDONLY);
  if (!file) return std::string();  // never started
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, file->Size());
  std::string output(std::min(size, kConsoleBytes), '\0');
  VMFERRY_ASSIGN_OR_RETURN(
      const std::size_t count,
      file->ReadSomeAt(size - output.size(), std::as_writable_bytes(std::span(output))));
  output.resize(count);
  return output;
}

}  // namespace vmferry::region::vm
