// SPDX-License-Identifier: Apache-2.0
//
// Tasks of ImportImage and ImportSnapshot: their records, their queue, their end. The stages are
// in image_tasks_stages.cc.
#include "region/import/image_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/import/reachable_folder.h"
#include "region/vm/ids.h"

namespace vmferry::region {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE image_tasks (id TEXT PRIMARY KEY, state INTEGER NOT NULL, stage INTEGER NOT NULL,"
    " message TEXT NOT NULL, create_time INTEGER NOT NULL, document TEXT NOT NULL)",
};

constexpr std::string_view kImagePrefix = "import-ami-";
constexpr std::string_view kSnapshotPrefix = "import-snap-";

Result<ImageTask> TaskOf(const SqlRow& row) {
  ImageTask task{.id = row.Text(0),
                 .kind = row.Text(0).starts_with(kImagePrefix) ? ImageTaskKind::kImage
                                                               : ImageTaskKind::kSnapshot,
                 .state = static_cast<TaskState>(row.Int(1)),
                 .stage = static_cast<ImageStage>(row.Int(2)),
                 .message = row.Text(3),
                 .create_time = row.Int(4)};
  VMFERRY_ASSIGN_OR_RETURN(const text::Json document, text::Json::Parse(row.Text(5)));
  FromJson(document, task);
  return task;
}

Result<void> WriteDocument(Transaction& transaction, const ImageTask& task) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute("UPDATE image_tasks SET stage = ?, document = ? WHERE id = ?",
                          {static_cast<int>(task.stage), ToJson(task).Dump(), task.id}));
  return {};
}

Error NoSuchTask(std::string_view id) {
  return Error(ErrorCode::kNotFound, "region.no_such_task",
               fmt::format("the import task {} does not exist", id));
}

}  // namespace

ImageTasks::ImageTasks(Context& context, const vm::Sandbox& sandbox, vm::Disks& disks,
                       Fetcher fetcher, std::unique_ptr<RoleStore> roles, ImageTasksOptions options)
    : context_(context),
      sandbox_(sandbox),
      disks_(disks),
      fetcher_(std::move(fetcher)),
      roles_(std::move(roles)),
      options_(options),
      folder_(context.settings.folder / "import"),
      queue_(context.clock, [this](const std::string& id, std::stop_token stop) {
        const std::shared_ptr<Job> job = JobOf(id);
        return job ? Step(*job, stop) : std::nullopt;
      }) {}

ImageTasks::~ImageTasks() = default;

Result<std::unique_ptr<ImageTasks>> ImageTasks::Open(Context& context, const vm::Sandbox& sandbox,
                                                     vm::Disks& disks, http::Client& client,
                                                     ImageTasksOptions options) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("image_tasks", kSchema));
  VMFERRY_ASSIGN_OR_RETURN(RegionCredentials credentials,
                           LoadOrMakeCredentials(context.settings.folder, context.random));
  VMFERRY_ASSIGN_OR_RETURN(std::unique_ptr<RoleStore> roles, RoleStore::Open(context.database));
  std::unique_ptr<ImageTasks> tasks(new ImageTasks(context, sandbox, disks,
                                                   Fetcher(context, client, std::move(credentials)),
                                                   std::move(roles), options));
  VMFERRY_RETURN_IF_ERROR(sandbox.MakeShelf(tasks->folder_));
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      context.database.WithTransaction([](Transaction& transaction) {
        return transaction.Query("SELECT * FROM image_tasks ORDER BY create_time, id");
      }));
  const MutexLock lock(tasks->mutex_);
  for (const SqlRow& row : rows) {
    auto job = std::make_shared<Job>();
    VMFERRY_ASSIGN_OR_RETURN(job->task, region::TaskOf(row));
    job->recorded = true;
    if (!IsFinal(job->task.state)) tasks->queue_.Put(job->task.id);
    tasks->jobs_.emplace(job->task.id, std::move(job));
  }
  return tasks;
}

Result<void> ImageTasks::Start() {
  Forget();
  queue_.Start(options_.workers);
  return {};
}

void ImageTasks::Stop(const OpContext&) { queue_.Stop(); }

std::int64_t ImageTasks::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

std::shared_ptr<ImageTasks::Job> ImageTasks::JobOf(std::string_view id) {
  const MutexLock lock(mutex_);
  const auto found = jobs_.find(id);
  return found == jobs_.end() || !found->second->recorded ? nullptr : found->second;
}

Result<bool> ImageTasks::RoleServes(std::string_view name) {
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<Role> role, roles_->Find(name));
  if (!role) return false;
  const Settings& settings = context_.settings;
  const bool trusts = ServiceMayAssume(
      *role, "vmie.amazonaws.com",
      {{"sts:ExternalId", "vmimport"},
       {"aws:SourceAccount", settings.account_id},
       {"aws:SourceArn",
        fmt::format("arn:aws:vmie:{}:{}:import", settings.region_name, settings.account_id)}});
  // Source: VM Import/Export User Guide, "Required service role", role-policy.json.
  return trusts && RoleAllows(*role, "ec2:CopySnapshot", "*") &&
         RoleAllows(*role, "ec2:RegisterImage", "*");
}

Result<ImageTask> ImageTasks::Begin(ImageTask task, const vm::TagMap& tags) {
  const bool image = task.kind == ImageTaskKind::kImage;
  task.id = vm::NewResourceId(context_.random, image ? kImagePrefix : kSnapshotPrefix);
  task.create_time = Now();
  if (image) task.image_id = vm::NewResourceId(context_.random, "ami-");
  task.disks = task.containers;
  auto job = std::make_shared<Job>();
  job->task = task;
  {
    const MutexLock lock(mutex_);
    std::size_t active = 0;
    for (const auto& [id, other] : jobs_) {
      if (other->task.state == TaskState::kActive) ++active;
      if (task.client_token.empty() || other->task.client_token != task.client_token ||
          other->task.kind != task.kind) {
        continue;
      }
      if (other->task.request_digest == task.request_digest && other->recorded) return other->task;
      return Error(ErrorCode::kFailedPrecondition, "region.client_token_reused",
                   "Client token already used with different parameters");
    }
    if (active >= options_.active_tasks_max) {
      return Error(ErrorCode::kResourceExhausted, "region.too_many_image_tasks",
                   fmt::format("You have reached the limit of {} active import tasks",
                               options_.active_tasks_max));
    }
    jobs_.emplace(task.id, job);
  }
  Result<void> recorded =
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                                 transaction.Execute("INSERT INTO image_tasks VALUES (?,?,?,?,?,?)",
                                                     {task.id, static_cast<int>(task.state),
                                                      static_cast<int>(task.stage), task.message,
                                                      task.create_time, ToJson(task).Dump()}));
        return vm::Tags::SetIn(transaction, task.id, tags);
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
  context_.log.Info("import task begun", {{"task", task.id}});
  queue_.Put(task.id);
  return task;
}

// Ended tasks that AWS would no longer show.
void ImageTasks::Forget() {
  const std::int64_t oldest = Now() - std::chrono::seconds(options_.shown).count();
  std::vector<std::string> old;
  {
    const MutexLock lock(mutex_);
    std::erase_if(jobs_, [&](const auto& entry) {
      const ImageTask& task = entry.second->task;
      const bool gone = IsFinal(task.state) && task.end_time < oldest;
      if (gone) old.push_back(task.id);
      return gone;
    });
  }
  for (const std::string& id : old) {
    const Result<void> removed =
        context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
          VMFERRY_ASSIGN_OR_RETURN(
              [[maybe_unused]] const std::int64_t changed,
              transaction.Execute("DELETE FROM image_tasks WHERE id = ?", {id}));
          return vm::Tags::RemoveIn(transaction, id);
        });
    if (!removed) {
      context_.log.Warn("old import task not removed",
                        {{"task", id}, {"error", removed.error().ToString()}});
    }
  }
}

std::vector<ImageTask> ImageTasks::List() {
  Forget();
  const MutexLock lock(mutex_);
  std::vector<ImageTask> tasks;
  for (const auto& [id, job] : jobs_) {
    if (job->recorded) tasks.push_back(job->task);
  }
  return tasks;
}

Result<ImageTask> ImageTasks::Find(std::string_view id) {
  const std::shared_ptr<Job> job = JobOf(id);
  if (!job) return NoSuchTask(id);
  return TaskOf(*job);
}

Result<void> ImageTasks::Cancel(std::string_view id, std::string_view reason) {
  const std::shared_ptr<Job> job = JobOf(id);
  if (!job) return NoSuchTask(id);
  VMFERRY_ASSIGN_OR_RETURN(const bool moved,
                           SetState(*job, TaskState::kActive, TaskState::kCancelling, reason));
  if (!moved) {
    return Error(ErrorCode::kFailedPrecondition, "region.task_final",
                 fmt::format("the import task {} is {}", id, ImageTaskStatus(TaskOf(*job).state)));
  }
  queue_.Interrupt(id);
  return {};
}

ImageTask ImageTasks::TaskOf(const Job& job) {
  const MutexLock lock(mutex_);
  return job.task;
}

void ImageTasks::SetPercent(Job& job, int percent) {
  const MutexLock lock(mutex_);
  job.task.percent = percent;
}

Result<void> ImageTasks::Save(Job& job, ImageTask task) {
  task.percent = 0;
  VMFERRY_RETURN_IF_ERROR(context_.database.WithTransaction(
      [&](Transaction& transaction) { return WriteDocument(transaction, task); }));
  const MutexLock lock(mutex_);
  task.state = job.task.state;  // a cancellation may have come meanwhile
  task.message = job.task.message;
  job.task = std::move(task);
  return {};
}

Result<bool> ImageTasks::SetState(Job& job, TaskState from, TaskState to, std::string_view message,
                                  const std::function<Result<void>(Transaction&)>& also) {
  VMFERRY_CHECK(MayFollow(from, to));
  ImageTask task = TaskOf(job);
  if (IsFinal(to)) task.end_time = Now();
  VMFERRY_ASSIGN_OR_RETURN(
      const std::int64_t changed,
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<std::int64_t> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::int64_t rows,
            transaction.Execute("UPDATE image_tasks SET state = ?, message = ? WHERE id = ?"
                                " AND state = ?",
                                {static_cast<int>(to), message, task.id, static_cast<int>(from)}));
        if (rows != 0 && IsFinal(to)) {  // only its worker ends a task: the document is the latest
          VMFERRY_RETURN_IF_ERROR(WriteDocument(transaction, task));
        }
        if (rows != 0 && also) VMFERRY_RETURN_IF_ERROR(also(transaction));
        return rows;
      }));
  if (changed == 0) return false;
  {
    const MutexLock lock(mutex_);
    job.task.state = to;
    job.task.message = message;
    job.task.end_time = task.end_time;
  }
  context_.log.Info("import task changed",
                    {{"task", task.id}, {"to", ImageTaskStatus(to)}, {"message", message}});
  return true;
}

std::optional<std::chrono::milliseconds> ImageTasks::Step(Job& job, std::stop_token stop) {
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
    if (!SetState(job, TaskState::kActive, TaskState::kCancelling, message)) return options_.poll;
  }
  const ImageTask task = TaskOf(job);
  if (task.state != TaskState::kCancelling) return std::nullopt;
  Result<void> cleaned = CleanUp(task);
  if (cleaned) {
    const Result<bool> ended =
        SetState(job, TaskState::kCancelling, TaskState::kCancelled, task.message);
    if (ended) return std::nullopt;
    cleaned = ended.error();
  }
  context_.log.Warn("import task not cleaned up",
                    {{"task", task.id}, {"error", cleaned.error().ToString()}});
  return options_.poll;
}

Result<void> ImageTasks::CleanUp(const ImageTask& task) {
  for (const ImportDisk& disk : task.disks) {
    if (disk.snapshot_id.empty() || !disk.given_snapshot.empty()) continue;
    if (!disks_.FindSnapshot(disk.snapshot_id)) continue;
    VMFERRY_RETURN_IF_ERROR(disks_.DeleteSnapshot(disk.snapshot_id));
  }
  RemoveReachable(WorkFolder(task.id), task.id);
  std::error_code failure;
  std::filesystem::remove_all(WorkFolder(task.id), failure);
  if (failure) return sys::ErrnoError("remove", WorkFolder(task.id), failure.value());
  return {};
}

}  // namespace vmferry::region
