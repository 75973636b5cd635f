// SPDX-License-Identifier: Apache-2.0
//
// Tasks: their records, their queue, their end. The stages are in importer_stages.cc.
#include "region/import/importer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/import/importer_job.h"
#include "region/vm/ids.h"

namespace vmferry::region {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE import_tasks (id TEXT PRIMARY KEY, state INTEGER NOT NULL, stage INTEGER NOT"
    " NULL, message TEXT NOT NULL, create_time INTEGER NOT NULL, expire_time INTEGER NOT NULL,"
    " instance_id TEXT NOT NULL, volume_id TEXT NOT NULL, platform TEXT NOT NULL, description"
    " TEXT NOT NULL, disk_description TEXT NOT NULL, zone TEXT NOT NULL, format INTEGER NOT NULL,"
    " image_bytes INTEGER NOT NULL, manifest_url TEXT NOT NULL, volume_gib INTEGER NOT NULL,"
    " bytes_converted INTEGER NOT NULL)",
};

ConversionTask TaskOf(const SqlRow& row) {
  return ConversionTask{.id = row.Text(0),
                        .state = static_cast<TaskState>(row.Int(1)),
                        .stage = static_cast<TaskStage>(row.Int(2)),
                        .message = row.Text(3),
                        .create_time = row.Int(4),
                        .expire_time = row.Int(5),
                        .instance_id = row.Text(6),
                        .volume_id = row.Text(7),
                        .platform = row.Text(8),
                        .description = row.Text(9),
                        .disk_description = row.Text(10),
                        .zone = row.Text(11),
                        .format = static_cast<ImageFormat>(row.Int(12)),
                        .image_bytes = row.Uint(13),
                        .manifest_url = row.Text(14),
                        .volume_gib = row.Uint(15),
                        .bytes_converted = row.Uint(16)};
}

Result<void> Insert(Transaction& transaction, const ConversionTask& task) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute(
          "INSERT INTO import_tasks VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
          {task.id, static_cast<int>(task.state), static_cast<int>(task.stage), task.message,
           task.create_time, task.expire_time, task.instance_id, task.volume_id, task.platform,
           task.description, task.disk_description, task.zone, static_cast<int>(task.format),
           task.image_bytes, task.manifest_url, task.volume_gib, task.bytes_converted}));
  return {};
}

Error NoSuchTask(std::string_view id) {
  return Error(ErrorCode::kNotFound, "region.no_such_task",
               fmt::format("the conversion task {} does not exist", id));
}

}  // namespace

Importer::Importer(Context& context, const vm::Sandbox& sandbox, vm::Disks& disks,
                   vm::Instances& instances, Fetcher fetcher, ImporterOptions options)
    : context_(context),
      sandbox_(sandbox),
      disks_(disks),
      instances_(instances),
      fetcher_(std::move(fetcher)),
      options_(options),
      folder_(context.settings.folder / "import"),
      queue_(context.clock, [this](const std::string& id, std::stop_token stop) {
        const std::shared_ptr<Job> job = JobOf(id);
        return job ? Step(*job, stop) : std::nullopt;
      }) {}

Importer::~Importer() = default;

Result<std::unique_ptr<Importer>> Importer::Open(Context& context, const vm::Sandbox& sandbox,
                                                 vm::Disks& disks, vm::Instances& instances,
                                                 http::Client& client, ImporterOptions options) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("import", kSchema));
  VMFERRY_ASSIGN_OR_RETURN(RegionCredentials credentials,
                           LoadOrMakeCredentials(context.settings.folder, context.random));
  std::unique_ptr<Importer> importer(new Importer(context, sandbox, disks, instances,
                                                  Fetcher(context, client, std::move(credentials)),
                                                  options));
  VMFERRY_RETURN_IF_ERROR(sandbox.MakeShelf(importer->folder_));
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      context.database.WithTransaction([](Transaction& transaction) {
        return transaction.Query("SELECT * FROM import_tasks ORDER BY create_time, id");
      }));
  const MutexLock lock(importer->mutex_);
  for (const SqlRow& row : rows) {
    auto job = std::make_shared<Job>();
    job->task = region::TaskOf(row);
    job->recorded = true;
    if (!IsFinal(job->task.state)) importer->queue_.Put(job->task.id);
    importer->jobs_.emplace(job->task.id, std::move(job));
  }
  return importer;
}

Result<void> Importer::Start() {
  queue_.Start(options_.workers);
  return {};
}

void Importer::Stop(const OpContext&) { queue_.Stop(); }

std::shared_ptr<Importer::Job> Importer::JobOf(std::string_view id) {
  const MutexLock lock(mutex_);
  const auto found = jobs_.find(id);
  return found == jobs_.end() || !found->second->recorded ? nullptr : found->second;
}

std::int64_t Importer::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

ConversionTask Importer::NewTask(const ImportDiskRequest& request, std::string_view id_prefix) {
  return ConversionTask{.id = vm::NewTaskId(context_.random, id_prefix),
                        .message = "Pending",
                        .create_time = Now(),
                        .expire_time = Now() + std::chrono::seconds(options_.patience).count(),
                        .volume_id = vm::NewResourceId(context_.random, "vol-"),
                        .format = request.format,
                        .image_bytes = request.image_bytes,
                        .manifest_url = request.manifest_url,
                        .volume_gib = request.volume_gib};
}

Result<ConversionTask> Importer::ImportInstance(const ImportInstanceRequest& request) {
  ConversionTask task = NewTask(request.disk, "import-i-");
  task.instance_id = vm::NewResourceId(context_.random, "i-");
  task.platform = request.platform;
  task.description = request.description;
  task.disk_description = request.disk.description;
  task.zone = request.instance.zone;
  vm::Instance instance = request.instance;
  instance.id = task.instance_id;
  instance.state = vm::InstanceState::kStopped;
  instance.launch_time = task.create_time;
  return Begin(task, &instance);
}

Result<ConversionTask> Importer::ImportVolume(const ImportDiskRequest& request,
                                              std::string_view zone) {
  ConversionTask task = NewTask(request, "import-vol-");
  task.description = request.description;
  task.zone = zone;
  return Begin(task, nullptr);
}

Result<ConversionTask> Importer::Begin(const ConversionTask& task, const vm::Instance* instance) {
  auto job = std::make_shared<Job>();
  job->task = task;
  {
    const MutexLock lock(mutex_);
    const auto active = std::count_if(jobs_.begin(), jobs_.end(), [](const auto& entry) {
      return entry.second->task.state == TaskState::kActive;
    });
    if (static_cast<std::size_t>(active) >= options_.active_tasks_max) {
      return Error(ErrorCode::kResourceExhausted, "region.too_many_tasks",
                   fmt::format("Task failed to initialize - conversion task limit ({}) exceeded.",
                               options_.active_tasks_max));
    }
    jobs_.emplace(task.id, job);  // not run before it is recorded: see `recorded`
  }
  Result<void> recorded =
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_RETURN_IF_ERROR(Insert(transaction, task));
        if (instance == nullptr) return {};
        return vm::Instances::AddIn(transaction, *instance, {});
      });
  {
    const MutexLock lock(mutex_);
    if (recorded) {
      job->recorded = true;
    } else {
      jobs_.erase(task.id);
    }
  }
  if (!recorded) return recorded.error();
  context_.log.Info("conversion task begun", {{"task", task.id}, {"instance", task.instance_id}});
  queue_.Put(task.id);
  return task;
}

std::vector<ConversionTask> Importer::List() {
  std::vector<ConversionTask> tasks;
  const MutexLock lock(mutex_);
  for (const auto& [id, job] : jobs_) {
    if (job->recorded) tasks.push_back(job->task);
  }
  return tasks;
}

Result<ConversionTask> Importer::Find(std::string_view id) {
  const std::shared_ptr<Job> job = JobOf(id);
  if (!job) return NoSuchTask(id);
  return TaskOf(*job);
}

Result<void> Importer::Cancel(std::string_view id, std::string_view reason) {
  const std::shared_ptr<Job> job = JobOf(id);
  if (!job) return NoSuchTask(id);
  VMFERRY_ASSIGN_OR_RETURN(const bool moved,
                           SetState(*job, TaskState::kActive, TaskState::kCancelling,
                                    reason.empty() ? "Cancelled by user" : reason));
  if (!moved) {
    return Error(
        ErrorCode::kFailedPrecondition, "region.task_final",
        fmt::format("the conversion task {} is {}", id, TaskStateName(TaskOf(*job).state)));
  }
  queue_.Interrupt(id);
  return {};
}

ConversionTask Importer::TaskOf(const Job& job) {
  const MutexLock lock(mutex_);
  return job.task;
}

void Importer::SetProgress(Job& job, std::uint64_t bytes_converted, int percent) {
  const MutexLock lock(mutex_);
  job.task.bytes_converted = bytes_converted;
  job.task.convert_percent = percent;
}

Result<void> Importer::SetStage(Job& job, TaskStage stage, std::uint64_t bytes_converted) {
  const std::string id = TaskOf(job).id;
  VMFERRY_RETURN_IF_ERROR(
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute("UPDATE import_tasks SET stage = ?, bytes_converted = ?"
                                " WHERE id = ?",
                                {static_cast<int>(stage), bytes_converted, id}));
        return {};
      }));
  const MutexLock lock(mutex_);
  job.task.stage = stage;
  job.task.bytes_converted = bytes_converted;
  return {};
}

Result<bool> Importer::SetState(Job& job, TaskState from, TaskState to, std::string_view message) {
  VMFERRY_CHECK(MayFollow(from, to));
  const std::string id = TaskOf(job).id;
  VMFERRY_ASSIGN_OR_RETURN(
      const std::int64_t changed, context_.database.WithTransaction([&](Transaction& transaction) {
        return transaction.Execute(
            "UPDATE import_tasks SET state = ?, message = ? WHERE id = ? AND state = ?",
            {static_cast<int>(to), message, id, static_cast<int>(from)});
      }));
  if (changed == 0) return false;
  {
    const MutexLock lock(mutex_);
    job.task.state = to;
    job.task.message = message;
  }
  context_.log.Info("conversion task changed",
                    {{"task", id}, {"to", TaskStateName(to)}, {"message", message}});
  return true;
}

std::optional<std::chrono::milliseconds> Importer::Step(Job& job, std::stop_token stop) {
  constexpr std::chrono::milliseconds kAtOnce{0};
  if (TaskOf(job).state == TaskState::kActive) {
    Result<Outcome> outcome = RunStage(job, {.stop = stop});
    if (outcome) {
      if (*outcome == Outcome::kWait) return options_.poll;
      return IsFinal(TaskOf(job).state) ? std::nullopt : std::optional(kAtOnce);
    }
    // Cancelled: seen by the next step. The region stops: begun again after the restart.
    if (stop.stop_requested()) return kAtOnce;
    const Error& error = outcome.error();
    const bool ours = error.reason() != "region.client_error";
    const std::string message =
        ours ? fmt::format("SERVER_ERROR: {}", error.ToString()) : error.message();
    const Result<bool> failed = SetState(job, TaskState::kActive, TaskState::kCancelling, message);
    if (!failed) return options_.poll;
  }
  const ConversionTask task = TaskOf(job);
  if (task.state != TaskState::kCancelling) return std::nullopt;
  Result<void> cleaned = CleanUp(task);
  if (cleaned) {
    const Result<bool> ended =
        SetState(job, TaskState::kCancelling, TaskState::kCancelled, task.message);
    if (ended) return std::nullopt;
    cleaned = ended.error();
  }
  context_.log.Warn("conversion task not cleaned up",
                    {{"task", task.id}, {"error", cleaned.error().ToString()}});
  return options_.poll;
}

Result<void> Importer::CleanUp(const ConversionTask& task) {
  VMFERRY_RETURN_IF_ERROR(disks_.Purge(task.volume_id));
  if (!task.instance_id.empty()) {
    VMFERRY_RETURN_IF_ERROR(instances_.Forget(task.instance_id));
  }
  std::error_code failure;
  std::filesystem::remove_all(WorkFolder(task.id), failure);
  if (failure) return sys::ErrnoError("remove", WorkFolder(task.id), failure.value());
  return {};
}

}  // namespace vmferry::region
