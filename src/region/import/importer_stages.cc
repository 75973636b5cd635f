// SPDX-License-Identifier: Apache-2.0
//
// The three stages of a task: collect the parts, convert the disk, attach the volume.
#include <fmt/format.h>
#include <unistd.h>

#include "base/units.h"
#include "region/import/conversion.h"
#include "region/import/importer_job.h"
#include "region/import/upload_gate.h"

namespace vmferry::region {
namespace {

constexpr std::chrono::hours kConvertTime{12};

}  // namespace

Result<Importer::Outcome> Importer::RunStage(Job& job, const OpContext& op) {
  switch (TaskOf(job).stage) {
    case TaskStage::kDownload:
      return Download(job, op);
    case TaskStage::kConvert:
      return Convert(job, op);
    case TaskStage::kInstance:
      return Finish(job);
  }
  return Outcome::kWait;
}

Result<Importer::Outcome> Importer::Download(Job& job, const OpContext& op) {
  const ConversionTask task = TaskOf(job);
  if (Now() >= task.expire_time) {
    return ClientError("The upload was not complete when the task expired");
  }
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.download"));
  const std::filesystem::path work = WorkFolder(task.id);
  if (!job.manifest) {
    VMFERRY_ASSIGN_OR_RETURN(const Outcome fetched, FetchManifest(job, op));
    if (fetched == Outcome::kWait) return Outcome::kWait;
    std::error_code ignored;
    std::filesystem::remove_all(work, ignored);
    VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(work));
    job.parts_done = 0;
    job.bytes_done = 0;
    job.part_begun = false;
  }
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                           sys::File::Open(work / "disk", sys::File::Mode::kCreate));
  VMFERRY_RETURN_IF_ERROR(file.Truncate(job.manifest->size_bytes));
  while (job.parts_done < job.manifest->parts.size()) {
    const ManifestPart& part = job.manifest->parts[job.parts_done];
    VMFERRY_ASSIGN_OR_RETURN(const Outcome fetched, FetchPart(job, part, file, op));
    if (fetched == Outcome::kWait) return Outcome::kWait;
    ++job.parts_done;
    job.bytes_done += part.length_bytes;
  }
  VMFERRY_RETURN_IF_ERROR(file.Sync());
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(work));
  VMFERRY_RETURN_IF_ERROR(SetStage(job, TaskStage::kConvert, job.bytes_done));
  return Outcome::kDone;
}

Result<Importer::Outcome> Importer::FetchManifest(Job& job, const OpContext& op) {
  const ConversionTask task = TaskOf(job);
  VMFERRY_ASSIGN_OR_RETURN(const http::Request request, fetcher_.ForUrl(task.manifest_url));
  VMFERRY_ASSIGN_OR_RETURN(const Fetcher::Text text,
                           fetcher_.ReadText(request, "The manifest", kManifestBytesMax, op));
  if (text.outcome != FetchOutcome::kDone) return Outcome::kWait;
  auto manifest = ParseManifest(text.body, context_.settings.strict);
  if (!manifest) {
    return ClientError(fmt::format("InvalidManifest: {}", manifest.error().message()));
  }
  if (manifest->format != task.format) {
    return ClientError(fmt::format("InvalidManifest: file-format is {}, the request said {}",
                                   ImageFormatName(manifest->format),
                                   ImageFormatName(task.format)));
  }
  if (context_.settings.strict &&
      (manifest->size_bytes != task.image_bytes || manifest->volume_gib != task.volume_gib)) {
    return ClientError("InvalidManifest: size or volume-size is not that of the request");
  }
  for (const ManifestPart& part : manifest->parts) {
    if (auto allowed = fetcher_.ForUrl(part.get_url); !allowed) return allowed.error();
  }
  job.manifest = std::move(*manifest);
  return Outcome::kDone;
}

Result<Importer::Outcome> Importer::FetchPart(Job& job, const ManifestPart& part,
                                              const sys::File& file, const OpContext& op) {
  VMFERRY_ASSIGN_OR_RETURN(const http::Request request, fetcher_.ForUrl(part.get_url));
  const std::string what = fmt::format("Part {}", part.index);
  const bool fresh = !std::exchange(job.part_begun, true);
  VMFERRY_ASSIGN_OR_RETURN(const Fetcher::Body body,
                           fetcher_.ToFile(request, what,
                                           {.file = file,
                                            .offset_bytes = part.start_bytes,
                                            .limit_bytes = part.length_bytes,
                                            .fresh = fresh,
                                            .progress =
                                                [&](std::uint64_t received) {
                                                  SetProgress(job, job.bytes_done + received, -1);
                                                }},
                                           op));
  if (body.outcome != FetchOutcome::kDone) return Outcome::kWait;
  if (body.bytes != part.length_bytes) {
    return ClientError(
        fmt::format("{} has {} bytes, its byte-range {}", what, body.bytes, part.length_bytes));
  }
  job.part_begun = false;
  return Outcome::kDone;
}

Result<Importer::Outcome> Importer::Convert(Job& job, const OpContext& op) {
  const ConversionTask task = TaskOf(job);
  const std::filesystem::path work = WorkFolder(task.id);
  std::error_code failure;
  // A crash may have come between the volume's adoption and the record of it.
  if (!disks_.FindVolume(task.volume_id)) {
    if (!std::filesystem::exists(work / "disk", failure)) {
      VMFERRY_RETURN_IF_ERROR(SetStage(job, TaskStage::kDownload, 0));
      return Outcome::kDone;
    }
    VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.convert"));
    VMFERRY_RETURN_IF_ERROR(ConvertDisk(job, task, op));
  }
  std::filesystem::remove_all(work, failure);
  VMFERRY_RETURN_IF_ERROR(SetStage(job, TaskStage::kInstance, task.bytes_converted));
  return Outcome::kDone;
}

Result<void> Importer::ConvertDisk(Job& job, const ConversionTask& task, const OpContext& op) {
  const std::filesystem::path work = WorkFolder(task.id);
  const std::uint64_t volume_bytes = task.volume_gib * kGiB;
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(work / "volume.qcow2"));
  SetProgress(job, task.bytes_converted, 0);
  const OpContext timed = op.WithDeadline(context_.clock.DeadlineIn(kConvertTime));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size,
                           AcceptUpload(sandbox_, disks_.tool(), work, "disk", task.format, timed));
  if (size > volume_bytes) {
    return ClientError(
        fmt::format("The disk has a virtual size of {} bytes, the volume of {} GiB "
                    "is too small for it",
                    size, task.volume_gib));
  }
  Result<void> converted = disks_.tool().Convert(
      work,
      {.source = "disk",
       .source_format = QemuFormat(task.format),
       .target = "volume.qcow2",
       .target_format = "qcow2",
       // Data, tables (an eighth of a thousandth) and refcounts.
       .target_bytes_max = volume_bytes + volume_bytes / 256 + 64 * kMiB,
       .progress = [&](int percent) { SetProgress(job, task.bytes_converted, percent); }},
      timed);
  if (converted) {
    converted = disks_.tool().Resize(work, "volume.qcow2", volume_bytes, timed);
  }
  if (!converted) return ConversionError(converted.error(), task.format);
  return disks_.Adopt({.id = task.volume_id, .size_gib = task.volume_gib, .zone = task.zone},
                      work / "volume.qcow2", {});
}

Result<Importer::Outcome> Importer::Finish(Job& job) {
  const ConversionTask task = TaskOf(job);
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.instance"));
  {
    const MutexLock lock(mutex_);
    if (job.task.state == TaskState::kActive) job.task.message = "Progress: 6%";
  }
  VMFERRY_ASSIGN_OR_RETURN(const vm::Volume volume, disks_.FindVolume(task.volume_id));
  if (!task.instance_id.empty() && volume.state == vm::VolumeState::kAvailable) {
    VMFERRY_RETURN_IF_ERROR(disks_.Attach(volume.id, task.instance_id, "/dev/sda1", true));
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool completed,
                           SetState(job, TaskState::kActive, TaskState::kCompleted, ""));
  static_cast<void>(completed);  // not when it was cancelled just now: then it is cleaned up
  return Outcome::kDone;
}

}  // namespace vmferry::region
