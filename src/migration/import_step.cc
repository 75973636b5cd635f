// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "aws/core/error.h"
#include "base/byte_reader.h"
#include "base/units.h"
#include "base/version.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "transfer/import_manifest.h"

namespace vmferry::migration {
namespace {

using aws::ec2::ConversionTask;

// The longest life SigV4 allows; the URLs must outlive the conversion, not just the call.
constexpr std::chrono::seconds kUrlLife(604'800);
// A submission whose answer was lost shows up in the task list within this time, or not at all.
constexpr std::chrono::seconds kSubmissionVisible(30);
constexpr std::uint32_t kOnlyDisk = 0;  // route `instance` takes one disk

// The confirmed pieces, which are the whole of what travelled.
Result<std::vector<store::PieceRow>> SentPieces(StepContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(std::vector<store::PieceRow> pieces,
                           context.journal.store().Pieces(context.journal.id(), kOnlyDisk));
  std::uint64_t offset_bytes = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].number != i || pieces[i].offset_bytes != offset_bytes) {
      return Error(ErrorCode::kDataLoss, "import.pieces_missing",
                   fmt::format("the journal has no record of part {} of the upload", i))
          .WithRemedy("begin a new migration, and clean up this one with vmferry clean");
    }
    offset_bytes += pieces[i].length_bytes;
  }
  return pieces;
}

std::uint64_t TotalBytes(std::span<const store::PieceRow> pieces) {
  return pieces.empty() ? 0 : pieces.back().offset_bytes + pieces.back().length_bytes;
}

Result<std::string> UploadManifest(StepContext& context) {
  const MigrationSpec& spec = context.spec;
  aws::s3::Client& s3 = context.cloud.s3();
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<store::PieceRow> pieces, SentPieces(context));
  const auto sign = [&](std::string_view method, const std::string& key) {
    return s3.PresignedUrl(method, spec.bucket, key, kUrlLife);
  };
  transfer::ImportManifest manifest{.file_format = spec.wire.format,
                                    .importer_name = "vmferry",
                                    .importer_version = std::string(kVersion),
                                    .importer_release = "2010-11-15",
                                    .self_destruct_url = "",
                                    .size_bytes = TotalBytes(pieces),
                                    .volume_size_gib = spec.volume_size_gib,
                                    .parts = {}};
  VMFERRY_ASSIGN_OR_RETURN(manifest.self_destruct_url, sign("DELETE", ManifestKey(spec)));
  for (const store::PieceRow& piece : pieces) {
    const std::string key = PartKey(spec, piece.number);
    transfer::ManifestPart part{.start = piece.offset_bytes,
                                .end = piece.offset_bytes + piece.length_bytes - 1,
                                .key = key,
                                .head_url = "",
                                .get_url = "",
                                .delete_url = ""};
    VMFERRY_ASSIGN_OR_RETURN(part.head_url, sign("HEAD", key));
    VMFERRY_ASSIGN_OR_RETURN(part.get_url, sign("GET", key));
    VMFERRY_ASSIGN_OR_RETURN(part.delete_url, sign("DELETE", key));
    manifest.parts.push_back(std::move(part));
  }
  const std::string document = transfer::WriteManifest(manifest);
  VMFERRY_ASSIGN_OR_RETURN(const aws::s3::PutResult stored,
                           s3.PutObject(spec.bucket, ManifestKey(spec), AsBytes(document),
                                        {.content_type = "application/xml"}, context.op));
  return sign("GET", ManifestKey(spec));
}

aws::ec2::ImportInstanceRequest MakeRequest(const MigrationSpec& spec, std::string marker,
                                            std::string manifest_url, std::uint64_t wire_bytes) {
  aws::ec2::ImportInstanceRequest request;
  request.platform = spec.platform;
  request.architecture = spec.architecture;
  request.instance_type = spec.instance_type;
  request.description = std::move(marker);
  request.zone = spec.zone;
  request.subnet_id = spec.subnet;
  request.group_ids = spec.security_groups;
  request.disks = {{.format = spec.wire.format,
                    .image_size_bytes = wire_bytes,
                    .import_manifest_url = std::move(manifest_url),
                    .volume_size_gib = spec.volume_size_gib,
                    .description = ""}};
  return request;
}

Result<void> RecordTask(StepContext& context, const ConversionTask& task) {
  Journal& journal = context.journal;
  VMFERRY_RETURN_IF_ERROR(journal.Created(kind::kImportTask, task.id));
  VMFERRY_RETURN_IF_ERROR(journal.Created(kind::kInstance, task.instance_id));
  return journal.PutFacts({{"import_task", task.id}, {"instance_id", task.instance_id}});
}

// After an answer that was lost, or a crash between call and record.
Result<bool> AdoptSubmitted(StepContext& context, std::string_view marker) {
  bool adopted = false;
  const Deadline deadline = context.clock.DeadlineIn(kSubmissionVisible);
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const auto task, FindImportTask(context, marker));
    if (task) {
      VMFERRY_RETURN_IF_ERROR(RecordTask(context, *task));
      context.Note(fmt::format("found import task {} submitted before", task->id));
      adopted = true;
    }
    // The embedded region shows a task at once; AWS after some seconds.
    if (adopted || !context.cloud.MayEditDisks() || deadline.Passed(context.clock.MonotonicNow()) ||
        context.op.stop.stop_requested()) {
      return adopted;
    }
    context.clock.SleepFor(context.cloud.PollInterval(), context.op);
  }
}

Result<void> Submit(StepContext& context) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(const std::string attempt, journal.Fact("import_attempt"));
  const std::string marker = ImportMarker(journal, attempt);
  VMFERRY_ASSIGN_OR_RETURN(const std::string intended, journal.Fact("import_intended"));
  if (intended == marker) {
    VMFERRY_ASSIGN_OR_RETURN(const bool adopted, AdoptSubmitted(context, marker));
    if (adopted) return {};
  }
  // Signed last, so that the URLs live as long as possible.
  VMFERRY_ASSIGN_OR_RETURN(const auto pieces, SentPieces(context));
  const std::uint64_t wire_bytes = TotalBytes(pieces);
  context.Report(Step::kImport, 0, wire_bytes, "import manifest");
  VMFERRY_ASSIGN_OR_RETURN(std::string manifest_url, UploadManifest(context));
  // ImportInstance has no client token: the marker in its description is the guard.
  VMFERRY_RETURN_IF_ERROR(journal.Intend(kind::kImportTask, marker));
  VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"import_intended", marker}}));
  auto task = context.cloud.ec2().ImportInstance(
      MakeRequest(context.spec, marker, std::move(manifest_url), wire_bytes), context.op);
  if (!task) {
    if (aws::OutcomeUnknown(task.error()) && !context.op.stop.stop_requested()) {
      VMFERRY_ASSIGN_OR_RETURN(const bool adopted, AdoptSubmitted(context, marker));
      if (adopted) return journal.Removed(kind::kImportTask, marker);
    }
    return std::move(task).error();
  }
  VMFERRY_RETURN_IF_ERROR(RecordTask(context, *task));
  return journal.Removed(kind::kImportTask, marker);
}

// The next attempt is a new task with a marker of its own.
Result<void> ForgetTask(Journal& journal, const std::string& task_id) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string attempt, journal.Fact("import_attempt"));
  const std::uint64_t next = ParseUint(attempt).value_or(1) + 1;
  VMFERRY_ASSIGN_OR_RETURN(const std::string instance, journal.Fact("instance_id"));
  VMFERRY_RETURN_IF_ERROR(journal.Removed(kind::kImportTask, task_id));
  VMFERRY_RETURN_IF_ERROR(journal.Removed(kind::kInstance, instance));
  return journal.PutFacts(
      {{"import_task", ""}, {"instance_id", ""}, {"import_attempt", std::to_string(next)}});
}

std::string DescribeWait(const ConversionTask& task) {
  if (!task.volumes.empty() && !task.volumes[0].status_message.empty()) {
    return "conversion: " + task.volumes[0].status_message;
  }
  if (!task.status_message.empty()) return "conversion: " + task.status_message;
  return "conversion";
}

Result<ConversionTask> FollowTask(StepContext& context, const std::string& task_id) {
  const std::chrono::milliseconds quiet_limit = context.cloud.QuietLimit();
  VMFERRY_ASSIGN_OR_RETURN(const auto pieces, SentPieces(context));
  const std::uint64_t wire_bytes = TotalBytes(pieces);
  std::string last_seen;
  Deadline quiet = context.clock.DeadlineIn(quiet_limit);
  ConversionTask task;
  VMFERRY_RETURN_IF_ERROR(PollUntil(
      context, std::chrono::hours(24 * 7), "import.expired", "the import task's end",
      [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(const auto tasks, context.cloud.ec2().DescribeConversionTasks(
                                                       std::span(&task_id, 1), context.op));
        if (tasks.empty()) {
          return Error(ErrorCode::kNotFound, "import.task_gone",
                       fmt::format("the service no longer knows import task {}", task_id))
              .WithRemedy("vmferry resume submits it again");
        }
        task = tasks.front();
        const std::uint64_t converted = task.volumes.empty() ? 0 : task.volumes[0].bytes_converted;
        const std::string waiting = DescribeWait(task);
        context.Report(Step::kImport, std::min(converted, wire_bytes), wire_bytes, waiting);
        if (task.state == "completed" || task.state == "cancelled" || task.state == "cancelling" ||
            task.status_message.find("SERVER_ERROR") != std::string::npos) {
          return true;
        }
        const std::string seen = fmt::format("{} {} {}", task.state, converted, waiting);
        if (seen != last_seen) {
          last_seen = seen;
          quiet = context.clock.DeadlineIn(quiet_limit);
        } else if (quiet.Passed(context.clock.MonotonicNow())) {
          return Error(ErrorCode::kDeadlineExceeded, "import.stalled",
                       fmt::format("import task {} has not moved for {}", task_id,
                                   FormatDuration(std::chrono::duration_cast<std::chrono::seconds>(
                                       quiet_limit))))
              .WithRemedy("vmferry resume goes on waiting, vmferry cancel gives it up");
        }
        return false;
      }));
  return task;
}

}  // namespace

std::string ImportMarker(const Journal& journal, std::string_view attempt) {
  return fmt::format("vmferry {} attempt {}", journal.id(), attempt.empty() ? "1" : attempt);
}

Result<std::optional<ConversionTask>> FindImportTask(StepContext& context,
                                                     std::string_view marker) {
  VMFERRY_ASSIGN_OR_RETURN(const auto tasks,
                           context.cloud.ec2().DescribeConversionTasks({}, context.op));
  for (const ConversionTask& task : tasks) {
    if (task.description == marker) return std::optional(task);
  }
  return std::optional<ConversionTask>();
}

Result<std::string> RunImport(StepContext& context) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(std::string task_id, journal.Fact("import_task"));
  if (task_id.empty()) {
    VMFERRY_RETURN_IF_ERROR(Submit(context));
    VMFERRY_ASSIGN_OR_RETURN(task_id, journal.Fact("import_task"));
    context.Note(fmt::format("submitted import task {}", task_id));
  }
  auto followed = FollowTask(context, task_id);
  if (!followed) {
    if (followed.error().reason() == "import.task_gone") {
      VMFERRY_RETURN_IF_ERROR(ForgetTask(journal, task_id));
    }
    return std::move(followed).error();
  }
  const ConversionTask& task = *followed;
  if (task.state != "completed") {
    VMFERRY_RETURN_IF_ERROR(ForgetTask(journal, task_id));
    return Error(ErrorCode::kFailedPrecondition, "import.failed",
                 fmt::format("the import service gave up task {}: {}", task_id,
                             task.status_message.empty() ? "no reason given" : task.status_message))
        .With("import_task", task_id)
        .WithRemedy("mend the cause and run vmferry resume; the parts are still there");
  }
  if (task.volumes.empty() || task.volumes[0].volume_id.empty()) {
    return Error(ErrorCode::kInternal, "import.no_volume",
                 fmt::format("import task {} completed without naming its volume", task_id));
  }
  const std::string& volume_id = task.volumes[0].volume_id;
  VMFERRY_RETURN_IF_ERROR(
      journal.PutFacts({{"volume_id", volume_id}, {"zone", task.volumes[0].zone}}));
  VMFERRY_RETURN_IF_ERROR(journal.Removed(kind::kImportTask, task_id));
  VMFERRY_RETURN_IF_ERROR(journal.Kept(kind::kInstance, task.instance_id));
  VMFERRY_RETURN_IF_ERROR(journal.Kept(kind::kVolume, volume_id));
  return fmt::format("instance {} with volume {}", task.instance_id, volume_id);
}

}  // namespace vmferry::migration
