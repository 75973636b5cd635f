// SPDX-License-Identifier: Apache-2.0
#include "migration/cleanup.h"

#include <fmt/format.h>

namespace vmferry::migration {
namespace {

constexpr std::chrono::minutes kCancelLimit(10);
/// A part whose request was cut off may be stored after its key was looked for.
constexpr std::chrono::seconds kLatePartWait(1);
constexpr int kLatePartRounds = 5;

bool IsOver(const std::string& ledger_state) {
  return ledger_state == "removed" || ledger_state == "kept";
}

Result<std::uint64_t> RemovePrefix(StepContext& context, const std::string& resource) {
  const std::size_t slash = resource.find('/');
  const std::string bucket = resource.substr(0, slash);
  const std::string prefix = resource.substr(slash + 1);
  VMFERRY_CHECK(!prefix.empty());  // never the whole bucket
  std::vector<std::string> keys;
  const auto listed = context.cloud.s3().ForEachObject(
      bucket, prefix,
      [&](const aws::s3::ListedObject& object) -> Result<void> {
        keys.push_back(object.key);
        return {};
      },
      context.op);
  if (!listed && listed.error().code() != ErrorCode::kNotFound) return listed.error();
  if (!keys.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const auto failures,
                             context.cloud.s3().DeleteObjects(bucket, keys, context.op));
    if (!failures.empty()) {
      return Error(ErrorCode::kUnavailable, "clean.objects_left",
                   fmt::format("{} of {} objects below {} could not be deleted", failures.size(),
                               keys.size(), resource))
          .CausedBy(failures.front().error)
          .WithRemedy("vmferry clean tries again");
    }
  }
  VMFERRY_RETURN_IF_ERROR(context.journal.Removed(kind::kPrefix, resource));
  return keys.size();
}

// The same until nothing comes late, when the upload was cut short.
Result<std::uint64_t> RemovePrefixForGood(StepContext& context, const std::string& resource) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string started, context.journal.Fact("transfer_started"));
  VMFERRY_ASSIGN_OR_RETURN(const std::string root, context.journal.Fact("root"));
  const bool cut_short = !started.empty() && root.empty();
  VMFERRY_ASSIGN_OR_RETURN(std::uint64_t count, RemovePrefix(context, resource));
  for (int round = 0; cut_short && round < kLatePartRounds; ++round) {
    context.clock.SleepFor(kLatePartWait, context.op);
    VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t late, RemovePrefix(context, resource));
    if (late == 0) break;
    count += late;
  }
  return count;
}

// A snapshot is listed by its id, or by its marker while the call that makes it is under way.
Result<bool> RemoveSnapshot(StepContext& context, const std::string& resource) {
  std::string id = resource;
  if (!id.starts_with("snap-")) {
    VMFERRY_ASSIGN_OR_RETURN(
        const auto found,
        context.cloud.ec2().DescribeSnapshots(
            {.filters = {{.name = "description", .values = {resource}}}}, context.op));
    if (found.empty()) {
      VMFERRY_RETURN_IF_ERROR(context.journal.Removed(kind::kSnapshot, resource));
      return false;
    }
    id = found.front().id;
  }
  const auto removed = context.cloud.ec2().DeleteSnapshot(id, context.op);
  if (!removed && removed.error().code() != ErrorCode::kNotFound) return removed.error();
  VMFERRY_RETURN_IF_ERROR(context.journal.Removed(kind::kSnapshot, resource));
  return true;
}

struct BucketUse {
  bool ours = false;             ///< some migration's ledger made it
  std::string used_by;           ///< another migration that still has objects there
  std::vector<std::string> ids;  ///< migrations whose ledger lists it as made
};

Result<BucketUse> FindBucketUse(StepContext& context) {
  store::Store& store = context.journal.store();
  const std::string& bucket = context.spec.bucket;
  BucketUse use;
  VMFERRY_ASSIGN_OR_RETURN(const auto entries, store.LedgerOf(kind::kBucket, bucket));
  for (const store::LedgerRow& entry : entries) {
    if (entry.state == "removed") continue;
    use.ours = true;
    use.ids.push_back(entry.migration_id);
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto migrations, store.Migrations());
  for (const store::MigrationRow& migration : migrations) {
    if (migration.id == context.journal.id()) continue;
    VMFERRY_ASSIGN_OR_RETURN(const auto ledger, store.Ledger(migration.id));
    for (const store::LedgerRow& entry : ledger) {
      if (entry.kind == kind::kPrefix && entry.state != "removed" &&
          entry.resource.starts_with(bucket + "/")) {
        use.used_by = migration.id;
      }
    }
  }
  return use;
}

Result<void> RemoveBucket(StepContext& context, CleanupReport& report) {
  VMFERRY_ASSIGN_OR_RETURN(const BucketUse use, FindBucketUse(context));
  if (!use.ours) return {};
  if (!use.used_by.empty()) {
    report.bucket_kept_because = fmt::format("{} uses it", use.used_by);
    return {};
  }
  const auto removed = context.cloud.s3().DeleteBucket(context.spec.bucket, context.op);
  if (!removed && removed.error().reason() == "aws.bucket_not_empty") {
    report.bucket_kept_because = "somebody else's objects are in it";
    return {};
  }
  if (!removed && removed.error().code() != ErrorCode::kNotFound) return removed.error();
  for (const std::string& id : use.ids) {
    VMFERRY_RETURN_IF_ERROR(
        context.journal.store().PutLedger({.migration_id = id,
                                           .kind = std::string(kind::kBucket),
                                           .resource = context.spec.bucket,
                                           .state = "removed",
                                           .updated = context.clock.WallNow()}));
  }
  report.bucket_removed = true;
  return {};
}

}  // namespace

Result<CleanupReport> RemoveLeftovers(StepContext& context) {
  CleanupReport report;
  VMFERRY_ASSIGN_OR_RETURN(const auto ledger, context.journal.store().Ledger(context.journal.id()));
  for (const store::LedgerRow& entry : ledger) {
    if (IsOver(entry.state)) continue;
    if (entry.kind == kind::kPrefix) {
      VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t count,
                               RemovePrefixForGood(context, entry.resource));
      report.objects += count;
    } else if (entry.kind == kind::kSnapshot) {
      VMFERRY_ASSIGN_OR_RETURN(const bool removed, RemoveSnapshot(context, entry.resource));
      report.snapshots += removed ? 1 : 0;
    }
  }
  VMFERRY_RETURN_IF_ERROR(RemoveBucket(context, report));
  return report;
}

Result<void> CancelImport(StepContext& context) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(std::string task_id, journal.Fact("import_task"));
  VMFERRY_ASSIGN_OR_RETURN(const std::string volume_id, journal.Fact("volume_id"));
  if (!volume_id.empty()) return {};  // completed: nothing to cancel
  if (task_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const std::string marker, journal.Fact("import_intended"));
    if (marker.empty()) return {};
    VMFERRY_ASSIGN_OR_RETURN(const auto task, FindImportTask(context, marker));
    if (!task) return {};
    task_id = task->id;
  }
  const auto cancelled =
      context.cloud.ec2().CancelConversionTask(task_id, "cancelled by vmferry", context.op);
  // A task that has just ended, or is unknown, needs no cancelling; what became of it is looked up.
  if (!cancelled && cancelled.error().code() != ErrorCode::kNotFound &&
      cancelled.error().reason() != "aws.wrong_state") {
    return cancelled.error();
  }
  std::string instance_id;
  std::string state = "cancelled";
  VMFERRY_RETURN_IF_ERROR(PollUntil(
      context, kCancelLimit, "import.cancel_timeout", "the import task to be cancelled",
      [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(const auto tasks, context.cloud.ec2().DescribeConversionTasks(
                                                       std::span(&task_id, 1), context.op));
        if (tasks.empty()) return true;
        instance_id = tasks.front().instance_id;
        state = tasks.front().state;
        return state == "cancelled" || state == "completed";
      }));
  VMFERRY_RETURN_IF_ERROR(journal.Removed(kind::kImportTask, task_id));
  if (instance_id.empty()) return {};
  // Too late to cancel: the instance is there, whole, and stays.
  if (state == "completed") return journal.Kept(kind::kInstance, instance_id);
  return journal.Removed(kind::kInstance, instance_id);
}

Result<std::string> RunClean(StepContext& context) {
  context.Report(Step::kClean, 0, 0, "parts and manifest");
  VMFERRY_ASSIGN_OR_RETURN(const CleanupReport report, RemoveLeftovers(context));
  std::string text = fmt::format("{} objects removed", report.objects);
  if (report.bucket_removed) text += fmt::format(", bucket {} removed", context.spec.bucket);
  if (!report.bucket_kept_because.empty()) {
    text += fmt::format(", bucket {} kept: {}", context.spec.bucket, report.bucket_kept_because);
  }
  return text;
}

}  // namespace vmferry::migration
