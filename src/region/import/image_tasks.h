// SPDX-License-Identifier: Apache-2.0
//
// ImageTasks: ImportImage and ImportSnapshot. From objects in S3 they make snapshots, ImportImage
// also looks at what is on the disks and records a machine image.
//
// Tasks are durable: after kill -9 the stage that was under way is begun again.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "http/client.h"
#include "region/core/context.h"
#include "region/core/role_store.h"
#include "region/core/service.h"
#include "region/import/fetch.h"
#include "region/import/image_task.h"
#include "region/import/job_queue.h"
#include "region/vm/disks.h"
#include "region/vm/images.h"

namespace vmferry::region {

struct ImageTasksOptions {
  std::size_t workers = 2;
  /// AWS has a quota, too; its number is not published.
  std::size_t active_tasks_max = 20;
  /// Between two tries of what may pass: a server error, a full disk.
  std::chrono::milliseconds poll{1000};
  /// AWS shows a task for about seven days after its end.
  std::chrono::hours shown{7 * 24};
};

class ImageTasks final : public Component {
 public:
  /// All references outlive it. Images' tables exist: open Images first.
  static Result<std::unique_ptr<ImageTasks>> Open(Context& context, const vm::Sandbox& sandbox,
                                                  vm::Disks& disks, http::Client& client,
                                                  ImageTasksOptions options);
  ~ImageTasks() override;

  std::string_view Name() const override { return "image_tasks"; }
  Result<void> Start() override;
  void Stop(const OpContext& context) override;

  /// Whether the role exists, trusts the import service and has been given what that needs.
  Result<bool> RoleServes(std::string_view role);

  /// Records and begins the task; id and times are set here. The same client token again returns
  /// the task that it began.
  /// Errors: kResourceExhausted region.too_many_image_tasks; kFailedPrecondition
  /// region.client_token_reused (the other parameters differ).
  Result<ImageTask> Begin(ImageTask task, const vm::TagMap& tags);
  /// By id.
  std::vector<ImageTask> List();
  /// Errors: kNotFound region.no_such_task.
  Result<ImageTask> Find(std::string_view id);
  /// Begins to undo an active task; nothing of it is left when it is `deleted`.
  /// Errors: kNotFound region.no_such_task; kFailedPrecondition region.task_final.
  Result<void> Cancel(std::string_view id, std::string_view reason);

 private:
  struct Job {
    ImageTask task;
    bool recorded = false;  ///< in the database; not shown and not run before
  };
  enum class Outcome { kDone, kWait };

  ImageTasks(Context& context, const vm::Sandbox& sandbox, vm::Disks& disks, Fetcher fetcher,
             std::unique_ptr<RoleStore> roles, ImageTasksOptions options);

  std::optional<std::chrono::milliseconds> Step(Job& job, std::stop_token stop);
  std::shared_ptr<Job> JobOf(std::string_view id);
  Result<Outcome> RunStage(Job& job, const OpContext& op);
  Result<Outcome> Fetch(Job& job, ImageTask task, const OpContext& op);
  Result<Outcome> FetchDisk(Job& job, const ImageTask& task, ImportDisk& disk, const OpContext& op);
  Result<void> TakeAppliance(ImageTask& task, const ImportDisk& container, const OpContext& op);
  Result<Outcome> Convert(Job& job, ImageTask task, const OpContext& op);
  Result<Outcome> Inspect(Job& job, ImageTask task, const OpContext& op);
  Result<Outcome> MakeSnapshots(Job& job, ImageTask task, const OpContext& op);
  Result<Outcome> Complete(Job& job, const ImageTask& task);
  Result<Outcome> Restart(Job& job, ImageTask task);
  vm::MachineImage ImageOf(const ImageTask& task) const;
  Result<std::optional<ObjectName>> ObjectOf(const ImportDisk& disk, std::string_view role) const;
  Result<void> CleanUp(const ImageTask& task);

  ImageTask TaskOf(const Job& job);
  void SetPercent(Job& job, int percent);
  /// Stores all of the task as it is given.
  Result<void> Save(Job& job, ImageTask task);
  /// False when the task is no longer in `from`. `also` runs in the same transaction.
  Result<bool> SetState(Job& job, TaskState from, TaskState to, std::string_view message,
                        const std::function<Result<void>(Transaction&)>& also = {});
  void Forget();
  std::filesystem::path WorkFolder(std::string_view id) const { return folder_ / id; }
  std::int64_t Now() const;

  Context& context_;
  const vm::Sandbox& sandbox_;
  vm::Disks& disks_;
  const Fetcher fetcher_;
  const std::unique_ptr<RoleStore> roles_;
  const ImageTasksOptions options_;
  const std::filesystem::path folder_;

  Mutex mutex_;
  // Shared with the worker that has it in hand. The tasks in them are guarded, too.
  std::map<std::string, std::shared_ptr<Job>, std::less<>> jobs_ VMFERRY_GUARDED_BY(mutex_);
  JobQueue queue_;  // last: its threads end before the rest goes
};

}  // namespace vmferry::region
