// SPDX-License-Identifier: Apache-2.0
//
// The stages of ImportImage and ImportSnapshot: fetch, convert, inspect, snapshot, register.
//
// In the task's work folder: `upload`, the object under way; `disk-N`, the file of disk N as it was
// uploaded; `raw-N`, its content.
#include <fmt/format.h>

#include "base/units.h"
#include "region/import/appliance.h"
#include "region/import/conversion.h"
#include "region/import/image_tasks.h"
#include "region/import/local_url.h"
#include "region/vm/ids.h"
#include "region/vm/images.h"

namespace vmferry::region {
namespace {

constexpr std::chrono::hours kConvertTime{12};
// VM Import/Export, "Limitations for resources being imported": below 16 TiB, ImportImage below 8.
constexpr std::uint64_t kImageBytesMax = 8 * kTiB;
constexpr std::uint64_t kSnapshotBytesMax = 16 * kTiB;
constexpr std::size_t kDisksMax = 21;  // the same page: attached volumes per task

std::uint64_t DiskBytesMax(const ImageTask& task) {
  return task.kind == ImageTaskKind::kImage ? kImageBytesMax : kSnapshotBytesMax;
}

std::string UploadName(std::size_t disk) { return fmt::format("disk-{}", disk); }
std::string RawName(std::size_t disk) { return fmt::format("raw-{}", disk); }

bool Exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<void> Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code failure;
  std::filesystem::rename(from, to, failure);
  if (failure) return sys::ErrnoError("move", to, failure.value());
  return {};
}

Error NoAccess(std::string_view reason) {
  return ClientError(fmt::format(
      "Disk validation failed [We do not have access to the given resource. Reason {}]", reason));
}

}  // namespace

Result<ImageTasks::Outcome> ImageTasks::RunStage(Job& job, const OpContext& op) {
  ImageTask task = TaskOf(job);
  switch (task.stage) {
    case ImageStage::kFetch:
      return Fetch(job, std::move(task), op);
    case ImageStage::kConvert:
      return Convert(job, std::move(task), op);
    case ImageStage::kInspect:
      return Inspect(job, std::move(task), op);
    case ImageStage::kSnapshot:
      return MakeSnapshots(job, std::move(task), op);
    case ImageStage::kRegister:
      return Complete(job, task);
  }
  return Outcome::kWait;
}

// The object that a container names, once the role is known to give access to it; nothing for a
// URL that carries its own signature.
Result<std::optional<ObjectName>> ImageTasks::ObjectOf(const ImportDisk& disk,
                                                       std::string_view role) const {
  if (IsSignedUrl(disk.url)) return std::optional<ObjectName>();
  std::optional<ObjectName> object = disk.object;
  if (!disk.url.empty()) object = ObjectOfUrl(disk.url, context_.settings);
  if (!object) {
    return ClientError(fmt::format("Invalid S3 source location: {}", disk.url.substr(0, 200)));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<Role> found, roles_->Find(role));
  const std::string arn = fmt::format("arn:aws:s3:::{}/{}", object->bucket, object->key);
  if (!found || !RoleAllows(*found, "s3:GetObject", arn)) return NoAccess("403 Forbidden");
  return object;
}

Result<ImageTasks::Outcome> ImageTasks::FetchDisk(Job& job, const ImageTask& task, ImportDisk& disk,
                                                  const OpContext& op) {
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<ObjectName> object, ObjectOf(disk, task.role));
  std::uint64_t expected = 0;
  http::Request request;
  if (object) {
    VMFERRY_ASSIGN_OR_RETURN(const Fetcher::Size size, fetcher_.SizeOf(*object, op));
    if (size.outcome == FetchOutcome::kMissing) return NoAccess("404 Not Found");
    if (size.outcome != FetchOutcome::kDone) return Outcome::kWait;
    expected = size.bytes;
    request = fetcher_.ForObject("GET", *object);
  } else {
    VMFERRY_ASSIGN_OR_RETURN(request, fetcher_.ForUrl(disk.url));
  }
  const std::filesystem::path path = WorkFolder(task.id) / "upload";
  VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(path));
  VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                           sys::File::Open(path, sys::File::Mode::kCreateNew));
  const auto progress = [&](std::uint64_t received) {
    if (expected != 0) SetPercent(job, static_cast<int>(1 + received * 99 / expected));
  };
  VMFERRY_ASSIGN_OR_RETURN(const Fetcher::Body body,
                           fetcher_.ToFile(request, "The object",
                                           {.file = file,
                                            .offset_bytes = 0,
                                            .limit_bytes = DiskBytesMax(task),
                                            .fresh = true,
                                            .progress = progress},
                                           op));
  if (body.outcome == FetchOutcome::kMissing) return NoAccess("404 Not Found");
  if (body.outcome != FetchOutcome::kDone) return Outcome::kWait;
  if (body.bytes == 0) return ClientError("No valid partitions. Not a valid volume.");
  VMFERRY_RETURN_IF_ERROR(file.Truncate(body.bytes));  // it may end in a hole
  VMFERRY_RETURN_IF_ERROR(file.Sync());
  disk.file_bytes = body.bytes;
  return Outcome::kDone;
}

Result<ImageTasks::Outcome> ImageTasks::Fetch(Job& job, ImageTask task, const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.download"));
  const std::filesystem::path work = WorkFolder(task.id);
  std::error_code ignored;
  std::filesystem::remove_all(work, ignored);
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(work));
  task.disks.clear();
  for (ImportDisk disk : task.containers) {
    if (!disk.given_snapshot.empty()) {
      const auto snapshot = disks_.FindSnapshot(disk.given_snapshot);
      if (!snapshot) return ClientError(snapshot.error().message());
      disk.snapshot_id = snapshot->id;
      disk.disk_gib = snapshot->size_gib;
      task.disks.push_back(std::move(disk));
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(const Outcome fetched, FetchDisk(job, task, disk, op));
    if (fetched == Outcome::kWait) return Outcome::kWait;
    if (disk.format == ImageFormat::kOva) {
      VMFERRY_RETURN_IF_ERROR(TakeAppliance(task, disk, op));
      continue;
    }
    VMFERRY_RETURN_IF_ERROR(Rename(work / "upload", work / UploadName(task.disks.size())));
    disk.snapshot_id = vm::NewResourceId(context_.random, "snap-");
    task.disks.push_back(std::move(disk));
  }
  if (task.disks.size() > kDisksMax) {
    return ClientError(fmt::format("More than {} disks cannot be imported", kDisksMax));
  }
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(work));
  task.stage = ImageStage::kConvert;
  VMFERRY_RETURN_IF_ERROR(Save(job, std::move(task)));
  return Outcome::kDone;
}

// The disks of the OVA that was fetched take the place of its container.
Result<void> ImageTasks::TakeAppliance(ImageTask& task, const ImportDisk& container,
                                       const OpContext& op) {
  const std::filesystem::path work = WorkFolder(task.id);
  const std::size_t first = task.disks.size();
  const auto name = [&](std::size_t disk) { return UploadName(first + disk); };
  VMFERRY_ASSIGN_OR_RETURN(const Appliance appliance, TakeApart(work / "upload", work, name, op));
  for (const ApplianceDisk& found : appliance.disks) {
    ImportDisk disk = container;
    disk.format = found.format;
    disk.file_bytes = found.file_bytes;
    disk.snapshot_id = vm::NewResourceId(context_.random, "snap-");
    task.disks.push_back(std::move(disk));
  }
  if (appliance.uefi && task.boot_mode.empty()) task.boot_mode = "uefi";
  return sys::RemoveFile(work / "upload");
}

Result<ImageTasks::Outcome> ImageTasks::Convert(Job& job, ImageTask task, const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.convert"));
  const std::filesystem::path work = WorkFolder(task.id);
  const OpContext timed = op.WithDeadline(context_.clock.DeadlineIn(kConvertTime));
  for (std::size_t i = 0; i < task.disks.size(); ++i) {
    ImportDisk& disk = task.disks[i];
    if (!disk.given_snapshot.empty()) continue;
    const std::string upload = UploadName(i);
    if (!Exists(work / upload)) return Restart(job, std::move(task));
    VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t bytes, AcceptUpload(sandbox_, disks_.tool(), work,
                                                                     upload, disk.format, timed));
    if (bytes == 0 || bytes > DiskBytesMax(task)) {
      return ClientError(
          fmt::format("The disk has a virtual size of {} bytes; at most {} GiB can "
                      "be imported",
                      bytes, DiskBytesMax(task) / kGiB));
    }
    disk.disk_gib = DivCeil(bytes, kGiB);
    const auto progress = [&](int percent) {
      const auto share =
          static_cast<int>((i * 100 + static_cast<std::size_t>(percent)) / task.disks.size());
      SetPercent(job, share);
    };
    VMFERRY_RETURN_IF_ERROR(
        MakeRaw(disks_.tool(), work, upload, RawName(i), disk.format, bytes, progress, timed));
    VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(work / upload));
  }
  task.stage = task.kind == ImageTaskKind::kImage ? ImageStage::kInspect : ImageStage::kSnapshot;
  VMFERRY_RETURN_IF_ERROR(Save(job, std::move(task)));
  return Outcome::kDone;
}

// A crash took away what the stage needs.
Result<ImageTasks::Outcome> ImageTasks::Restart(Job& job, ImageTask task) {
  task.stage = ImageStage::kFetch;
  VMFERRY_RETURN_IF_ERROR(Save(job, std::move(task)));
  return Outcome::kDone;
}

Result<ImageTasks::Outcome> ImageTasks::MakeSnapshots(Job& job, ImageTask task,
                                                      const OpContext& op) {
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.snapshot"));
  const std::filesystem::path work = WorkFolder(task.id);
  for (std::size_t i = 0; i < task.disks.size(); ++i) {
    const ImportDisk& disk = task.disks[i];
    if (!disk.given_snapshot.empty() || disks_.FindSnapshot(disk.snapshot_id)) continue;
    if (!Exists(work / RawName(i))) return Restart(job, std::move(task));
    const auto progress = [&](int percent) {
      SetPercent(
          job, static_cast<int>((i * 100 + static_cast<std::size_t>(percent)) / task.disks.size()));
    };
    VMFERRY_RETURN_IF_ERROR(disks_.AdoptSnapshot(
        {.id = disk.snapshot_id,
         .size_gib = disk.disk_gib,
         .description = fmt::format("Created by AWS-VMImport service for {}", task.id),
         .start_time = Now()},
        work / RawName(i), op, progress));
  }
  task.stage = ImageStage::kRegister;
  VMFERRY_RETURN_IF_ERROR(Save(job, std::move(task)));
  return Outcome::kDone;
}

Result<ImageTasks::Outcome> ImageTasks::Complete(Job& job, const ImageTask& task) {
  VMFERRY_RETURN_IF_ERROR(CheckStageFault(context_.faults, "import.register"));
  std::error_code ignored;
  std::filesystem::remove_all(WorkFolder(task.id), ignored);
  std::optional<vm::MachineImage> image;
  if (task.kind == ImageTaskKind::kImage) image = ImageOf(task);
  VMFERRY_ASSIGN_OR_RETURN(const bool completed,
                           SetState(job, TaskState::kActive, TaskState::kCompleted, "",
                                    [&](Transaction& transaction) -> Result<void> {
                                      if (!image) return {};
                                      VMFERRY_ASSIGN_OR_RETURN(
                                          const vm::MachineImage recorded,
                                          vm::Images::RegisterIn(transaction, *image, {}));
                                      static_cast<void>(recorded);
                                      return {};
                                    }));
  static_cast<void>(completed);  // not when it was cancelled just now: then it is cleaned up
  return Outcome::kDone;
}

}  // namespace vmferry::region
