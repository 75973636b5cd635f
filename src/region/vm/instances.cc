// SPDX-License-Identifier: Apache-2.0
//
// Records of instances and what callers ask of them. The keeper is in instances_keeper.cc.
#include "region/vm/instances.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/vm/client_tokens.h"
#include "region/vm/key_pairs.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_instances (id TEXT PRIMARY KEY, state INTEGER NOT NULL, type TEXT NOT NULL,"
    " architecture TEXT NOT NULL, platform TEXT NOT NULL, image_id TEXT NOT NULL, reservation_id"
    " TEXT NOT NULL, subnet_id TEXT NOT NULL, private_ip TEXT NOT NULL, group_id TEXT NOT NULL,"
    " zone TEXT NOT NULL, launch_time INTEGER NOT NULL, terminate_on_shutdown INTEGER NOT NULL,"
    " reason_code TEXT NOT NULL, reason_message TEXT NOT NULL, check_state INTEGER NOT NULL,"
    " impaired_since INTEGER NOT NULL, ssh_port INTEGER NOT NULL)",
    "ALTER TABLE vm_instances ADD COLUMN key_name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE vm_instances ADD COLUMN client_token TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE vm_instances ADD COLUMN launch_index INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN boot_mode INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN root_device TEXT NOT NULL DEFAULT '/dev/sda1'",
    "ALTER TABLE vm_instances ADD COLUMN ena_support INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN disable_api_termination INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN disable_api_stop INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN source_dest_check INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE vm_instances ADD COLUMN ebs_optimized INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_instances ADD COLUMN reboot INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX vm_instances_state ON vm_instances (state)",
    "CREATE TABLE vm_user_data (instance_id TEXT PRIMARY KEY, user_data TEXT NOT NULL)",
};

constexpr std::string_view kColumns =
    "id, state, type, architecture, platform, image_id, reservation_id, subnet_id, private_ip,"
    " group_id, zone, launch_time, terminate_on_shutdown, reason_code, reason_message,"
    " check_state, impaired_since, ssh_port, key_name, client_token, launch_index, boot_mode,"
    " root_device, ena_support, disable_api_termination, disable_api_stop, source_dest_check,"
    " ebs_optimized, reboot";

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
                  .ssh_port = static_cast<std::uint16_t>(row.Int(17)),
                  .key_name = row.Text(18),
                  .client_token = row.Text(19),
                  .launch_index = static_cast<std::uint32_t>(row.Int(20)),
                  .boot_mode = static_cast<BootMode>(row.Int(21)),
                  .root_device = row.Text(22),
                  .ena_support = row.Int(23) != 0,
                  .disable_api_termination = row.Int(24) != 0,
                  .disable_api_stop = row.Int(25) != 0,
                  .source_dest_check = row.Int(26) != 0,
                  .ebs_optimized = row.Int(27) != 0,
                  .reboot = static_cast<RebootStage>(row.Int(28))};
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
  VMFERRY_RETURN_IF_ERROR(ClientTokens::Open(context.database));
  VMFERRY_RETURN_IF_ERROR(KeyPairs::Open(context.database));
  return std::unique_ptr<Instances>(new Instances(context, sandbox, disks, options));
}

std::int64_t Instances::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

Result<std::vector<Instance>> Instances::List() {
  return context_.database.WithTransaction(
      [](Transaction& transaction) { return ListIn(transaction, "TRUE", {}); });
}

Result<std::vector<Instance>> Instances::ListIn(Transaction& transaction,
                                                std::string_view condition,
                                                std::vector<SqlValue> values) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query(
          fmt::format("SELECT {} FROM vm_instances WHERE {} ORDER BY id", kColumns, condition),
          std::move(values)));
  std::vector<Instance> instances;
  for (const SqlRow& row : found) instances.push_back(InstanceOf(row));
  return instances;
}

Result<std::vector<Instance>> Instances::Moving() {
  return context_.database.WithTransaction([](Transaction& transaction) {
    return ListIn(
        transaction, "state NOT IN (?, ?)",
        {static_cast<int>(InstanceState::kStopped), static_cast<int>(InstanceState::kTerminated)});
  });
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
          fmt::format("INSERT INTO vm_instances ({}) VALUES"
                      " (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0,0,0,?,?,?,?,?,?,?,?,?,?,0)",
                      kColumns),
          {instance.id,
           static_cast<int>(instance.state),
           instance.type,
           instance.architecture,
           instance.platform,
           instance.image_id,
           instance.reservation_id,
           instance.subnet_id,
           instance.private_ip,
           instance.group_id,
           instance.zone,
           instance.launch_time,
           instance.terminate_on_shutdown,
           instance.reason_code,
           instance.reason_message,
           instance.key_name,
           instance.client_token,
           instance.launch_index,
           static_cast<int>(instance.boot_mode),
           instance.root_device,
           instance.ena_support,
           instance.disable_api_termination,
           instance.disable_api_stop,
           instance.source_dest_check,
           instance.ebs_optimized}));
  return Tags::SetIn(transaction, instance.id, tags);
}

Result<void> Instances::Update(const Instance& instance) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute(
            "UPDATE vm_instances SET type = ?, terminate_on_shutdown = ?, group_id = ?,"
            " ena_support = ?, disable_api_termination = ?, disable_api_stop = ?,"
            " source_dest_check = ?, ebs_optimized = ? WHERE id = ?",
            {instance.type, instance.terminate_on_shutdown, instance.group_id, instance.ena_support,
             instance.disable_api_termination, instance.disable_api_stop,
             instance.source_dest_check, instance.ebs_optimized, instance.id}));
    return {};
  });
}

Result<std::string> Instances::UserData(std::string_view id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<std::string> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found,
        transaction.Query("SELECT user_data FROM vm_user_data WHERE instance_id = ?", {id}));
    return found.empty() ? std::string() : found[0].Text(0);
  });
}

Result<void> Instances::SetUserDataIn(Transaction& transaction, std::string_view id,
                                      std::string_view user_data) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute("INSERT OR REPLACE INTO vm_user_data VALUES (?, ?)", {id, user_data}));
  return {};
}

Result<void> Instances::SetUserData(std::string_view id, std::string_view user_data) {
  return context_.database.WithTransaction(
      [&](Transaction& transaction) { return SetUserDataIn(transaction, id, user_data); });
}

Result<void> Instances::Forget(std::string_view id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                             transaction.Execute("DELETE FROM vm_instances WHERE id = ?", {id}));
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t forgotten,
        transaction.Execute("DELETE FROM vm_user_data WHERE instance_id = ?", {id}));
    return Tags::RemoveIn(transaction, id);
  });
}

std::vector<Volume> Instances::VolumesOf(const Instance& instance) {
  auto volumes = disks_.VolumesOf(instance.id);
  if (!volumes) return {};
  const auto root = std::find_if(volumes->begin(), volumes->end(), [&](const Volume& volume) {
    return volume.device == instance.root_device;
  });
  if (root == volumes->end()) return {};
  std::rotate(volumes->begin(), root, root + 1);
  return std::move(*volumes);
}

void Instances::Poke() {
  {
    const std::lock_guard lock(mutex_);
    poke_ = true;
  }
  poked_.notify_all();
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
  Poke();
  return change;
}

Result<Instances::Change> Instances::StartInstance(std::string_view id) {
  const std::lock_guard lock(change_mutex_);
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (instance.state == InstanceState::kRunning || instance.state == InstanceState::kPending) {
    return Change{instance.state, instance.state};
  }
  if (instance.state == InstanceState::kStopped && VolumesOf(instance).empty()) {
    // AWS, VM Import troubleshooting: the text of StartInstances before the import has ended.
    return Error(ErrorCode::kFailedPrecondition, "region.no_root_volume",
                 fmt::format("Invalid value {} for instanceId. Instance does not have a volume "
                             "attached at root ({}).",
                             id, instance.root_device));
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

Result<void> Instances::RebootInstance(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const Instance instance, Find(id));
  if (instance.state != InstanceState::kRunning) {
    return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                 fmt::format("the instance {} is {}", id, StateName(instance.state)));
  }
  if (instance.reboot == RebootStage::kNone)
    SetReboot(instance, RebootStage::kPowerDown, instance.ssh_port);
  Poke();
  return {};
}

}  // namespace vmferry::region::vm
