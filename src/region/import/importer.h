// SPDX-License-Identifier: Apache-2.0
//
// Importer: ImportInstance and ImportVolume. From a manifest's URL it makes a volume, for
// ImportInstance with a stopped instance around it.
//
// It has worker threads of its own, since it fetches from its own server: a handler thread that
// waited for an import could wait for itself. Tasks are durable: their stage is recorded, and after
// kill -9 the stage is begun again.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "http/client.h"
#include "region/core/context.h"
#include "region/core/service.h"
#include "region/import/fetch.h"
#include "region/import/job_queue.h"
#include "region/import/task.h"
#include "region/vm/disks.h"
#include "region/vm/instances.h"

namespace vmferry::region {

/// Where a disk comes from and what it becomes.
struct ImportDiskRequest {
  std::string description;
  ImageFormat format = ImageFormat::kRaw;
  std::uint64_t image_bytes = 0;
  std::string manifest_url;
  std::uint64_t volume_gib = 0;
};

struct ImportInstanceRequest {
  vm::Instance instance;  ///< id, state and times are set by the importer
  std::string platform;
  std::string description;
  ImportDiskRequest disk;
};

struct ImporterOptions {
  std::size_t workers = 2;
  /// AWS's quota of active tasks.
  std::size_t active_tasks_max = 5;
  /// Between two looks for a manifest or part that is not there yet.
  std::chrono::milliseconds poll{1000};
  /// AWS gives an upload seven days.
  std::chrono::hours patience{7 * 24};
};

class Importer final : public Component {
 public:
  /// All references outlive it.
  static Result<std::unique_ptr<Importer>> Open(Context& context, const vm::Sandbox& sandbox,
                                                vm::Disks& disks, vm::Instances& instances,
                                                http::Client& client, ImporterOptions options);
  ~Importer() override;

  std::string_view Name() const override { return "importer"; }
  Result<void> Start() override;
  void Stop(const OpContext& context) override;

  /// Records task and stopped instance and begins.
  /// Errors: kResourceExhausted region.too_many_tasks.
  Result<ConversionTask> ImportInstance(const ImportInstanceRequest& request);
  /// The same for a volume in `zone`, without an instance.
  Result<ConversionTask> ImportVolume(const ImportDiskRequest& request, std::string_view zone);
  std::vector<ConversionTask> List();
  /// Errors: kNotFound region.no_such_task.
  Result<ConversionTask> Find(std::string_view id);
  /// Begins to undo an active task; nothing of it is left when it is `cancelled`.
  /// Errors: kNotFound region.no_such_task; kFailedPrecondition region.task_final.
  Result<void> Cancel(std::string_view id, std::string_view reason);

 private:
  struct Job;
  enum class Outcome { kDone, kWait };

  Importer(Context& context, const vm::Sandbox& sandbox, vm::Disks& disks, vm::Instances& instances,
           Fetcher fetcher, ImporterOptions options);

  ConversionTask NewTask(const ImportDiskRequest& request, std::string_view id_prefix);
  /// Records the task and, unless it is null, its instance; then it runs.
  Result<ConversionTask> Begin(const ConversionTask& task, const vm::Instance* instance);
  std::optional<std::chrono::milliseconds> Step(Job& job, std::stop_token stop);
  std::shared_ptr<Job> JobOf(std::string_view id);
  Result<Outcome> RunStage(Job& job, const OpContext& op);
  Result<Outcome> Download(Job& job, const OpContext& op);
  Result<Outcome> FetchManifest(Job& job, const OpContext& op);
  Result<Outcome> FetchPart(Job& job, const ManifestPart& part, const sys::File& file,
                            const OpContext& op);
  Result<Outcome> Convert(Job& job, const OpContext& op);
  Result<void> ConvertDisk(Job& job, const ConversionTask& task, const OpContext& op);
  Result<Outcome> Finish(Job& job);
  Result<void> CleanUp(const ConversionTask& task);

  ConversionTask TaskOf(const Job& job);
  void SetProgress(Job& job, std::uint64_t bytes_converted, int percent);
  Result<void> SetStage(Job& job, TaskStage stage, std::uint64_t bytes_converted);
  /// False when the task is no longer in `from`.
  Result<bool> SetState(Job& job, TaskState from, TaskState to, std::string_view message);
  std::filesystem::path WorkFolder(std::string_view id) const { return folder_ / id; }
  std::int64_t Now() const;

  Context& context_;
  const vm::Sandbox& sandbox_;
  vm::Disks& disks_;
  vm::Instances& instances_;
  const Fetcher fetcher_;
  const ImporterOptions options_;
  const std::filesystem::path folder_;

  Mutex mutex_;
  // Shared with the worker that has it in hand. The tasks in them are guarded, too.
  std::map<std::string, std::shared_ptr<Job>, std::less<>> jobs_ VMFERRY_GUARDED_BY(mutex_);
  JobQueue queue_;  // last: its threads end before the rest goes
};

}  // namespace vmferry::region
