// SPDX-License-Identifier: Apache-2.0
//
// Snapshots: one worker makes them one after the other.
#include <fmt/format.h>

#include <algorithm>

#include "region/vm/disk_rows.h"
#include "region/vm/disks.h"
#include "region/vm/ids.h"
#include "region/vm/images.h"
#include "region/vm/qmp.h"
#include "region/vm/uploads.h"

namespace vmferry::region::vm {
namespace {

// A copy of a file that keeps its holes.
Result<void> CopySparse(const std::filesystem::path& from, const std::filesystem::path& to) {
  VMFERRY_ASSIGN_OR_RETURN(const sys::File source, sys::File::Open(from, sys::File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(const sys::File target, sys::File::Open(to, sys::File::Mode::kCreate));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, source.Size());
  VMFERRY_RETURN_IF_ERROR(target.Truncate(size));
  std::vector<std::byte> buffer(4 * kMiB);
  for (std::uint64_t at = 0; at < size;) {
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source.RunAt(at));
    const std::uint64_t length = std::min<std::uint64_t>(run.length_bytes, buffer.size());
    if (!run.hole) {
      const std::span<std::byte> piece = std::span(buffer).first(length);
      VMFERRY_RETURN_IF_ERROR(source.ReadAt(at, piece));
      VMFERRY_RETURN_IF_ERROR(target.WriteAt(at, piece));
    }
    at += run.hole ? run.length_bytes : length;
  }
  return {};
}

Result<void> FreshFolder(const std::filesystem::path& path, const Sandbox& sandbox) {
  std::error_code failure;
  std::filesystem::remove_all(path, failure);
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(path));
  return sandbox.Give(path);
}

}  // namespace

Result<void> Disks::Start() {
  VMFERRY_RETURN_IF_ERROR(Sweep());
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Snapshot> snapshots, ListSnapshots());
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.state != SnapshotState::kPending || snapshot.volume_id == kNoVolume) continue;
    const std::lock_guard lock(mutex_);
    waiting_.push_back(snapshot.id);
  }
  worker_ = std::jthread([this](std::stop_token stop) { Work(stop); });
  return uploads_->Start();
}

void Disks::Stop(const OpContext&) {
  uploads_->Stop();
  worker_.request_stop();
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

void Disks::Work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::string id;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
      id = waiting_.front();
      waiting_.pop_front();
    }
    const auto snapshot = FindSnapshot(id);
    if (!snapshot || snapshot->state != SnapshotState::kPending) continue;
    Result<void> made = MakeSnapshot(*snapshot, stop);
    std::error_code ignored;
    std::filesystem::remove_all(folder_ / (id + ".work"), ignored);
    if (!made && !stop.stop_requested()) {
      context_.log.Warn("snapshot failed", {{"snapshot", id}, {"error", made.error().ToString()}});
      SnapshotFile::Remove(folder_, id);
      made = Finish(*snapshot, SnapshotState::kError, 0, made.error().ToString());
    }
    const std::lock_guard lock(mutex_);
    progress_.erase(id);
  }
}

Result<void> Disks::CopyOfRunning(const Snapshot& snapshot, const std::filesystem::path& target) {
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, FindVolume(snapshot.volume_id));
  // `stop` also flushes what the guest wrote and QEMU's own tables.
  const auto command = [&](std::string_view name) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(Qmp qmp, Qmp::Connect(folder_ / volume.instance_id / "qmp"));
    VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const text::Json done, qmp.Execute(name));
    return {};
  };
  VMFERRY_RETURN_IF_ERROR(command("stop"));
  Result<void> copied = CopySparse(folder_ / VolumeFile(volume.id), target);
  VMFERRY_RETURN_IF_ERROR(command("cont"));
  return copied;
}

Result<BlockMap> Disks::MapOf(const Volume& volume, const std::filesystem::path& folder,
                              const std::string& file, const OpContext& op) {
  BlockMap map(volume.size_gib * kGiB);
  if (!volume.snapshot_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const auto parent, OpenSnapshot(volume.snapshot_id));
    map.Add(parent->map());
  }
  VMFERRY_RETURN_IF_ERROR(
      tool_.Map(folder, file, folder / "map", op, [&](const MapRun& run) -> Result<void> {
        if (run.written) map.Mark(run.start_bytes, run.length_bytes);
        return {};
      }));
  return map;
}

Result<void> Disks::MakeSnapshot(const Snapshot& snapshot, std::stop_token stop) {
  const OpContext op{.stop = stop};
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, FindVolume(snapshot.volume_id));
  const std::filesystem::path work = folder_ / (snapshot.id + ".work");
  VMFERRY_RETURN_IF_ERROR(FreshFolder(work, sandbox_));
  std::string source = "../" + VolumeFile(volume.id);
  bool claimed = false;
  while (!claimed && !stop.stop_requested()) {
    if (UserOf(volume.id) == VolumeUser::kInstance) {
      VMFERRY_RETURN_IF_ERROR(CopyOfRunning(snapshot, work / "copy.qcow2"));
      VMFERRY_RETURN_IF_ERROR(sandbox_.Give(work / "copy.qcow2"));
      source = "copy.qcow2";
      break;
    }
    VMFERRY_ASSIGN_OR_RETURN(claimed, Claim(volume.id, VolumeUser::kTool));
    if (!claimed) context_.clock.SleepFor(std::chrono::milliseconds(100), op);
  }
  const auto convert = [&]() -> Result<BlockMap> {
    VMFERRY_ASSIGN_OR_RETURN(BlockMap map, MapOf(volume, work, source, op));
    VMFERRY_RETURN_IF_ERROR(
        tool_.Convert(work,
                      {.source = source,
                       .source_format = "qcow2",
                       .target = "disk.raw",
                       .target_format = "raw",
                       .target_bytes_max = map.volume_bytes() + kMiB,
                       .progress = [&](int percent) { SetProgress(snapshot.id, percent / 2); }},
                      op));
    return map;
  };
  Result<BlockMap> map = convert();
  if (claimed) Release(volume.id);
  if (!map) return map.error();

  const std::filesystem::path raw = folder_ / (snapshot.id + ".raw");
  VMFERRY_RETURN_IF_ERROR(sandbox_.Share(work / "disk.raw"));
  std::error_code failure;
  std::filesystem::rename(work / "disk.raw", raw, failure);
  if (failure) return sys::ErrnoError("move", raw, failure.value());
  VMFERRY_RETURN_IF_ERROR(
      SnapshotFile::Complete(folder_, snapshot.id, *map, stop,
                             [&](int percent) { SetProgress(snapshot.id, 50 + percent / 2); }));
  return Finish(snapshot, SnapshotState::kCompleted, map->CountWritten(), "");
}

void Disks::SetProgress(const std::string& snapshot_id, int percent) {
  const std::lock_guard lock(mutex_);
  progress_[snapshot_id] = std::min(percent, 99);
}

void Disks::ClearProgress(const std::string& snapshot_id) {
  const std::lock_guard lock(mutex_);
  progress_.erase(snapshot_id);
}

Result<void> Disks::Finish(const Snapshot& snapshot, SnapshotState state, std::uint64_t written,
                           std::string_view message) {
  VMFERRY_CHECK(MayFollow(snapshot.state, state));
  return context_.database.WithTransaction([&](Transaction& transaction) {
    return rows::EndSnapshot(transaction, snapshot.id, state, written, message, Now());
  });
}

Result<std::vector<Snapshot>> Disks::ListSnapshots() {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      context_.database.WithTransaction([](Transaction& transaction) {
        return transaction.Query(
            fmt::format("SELECT {} FROM vm_snapshots ORDER BY id", rows::kSnapshotColumns));
      }));
  std::vector<Snapshot> snapshots;
  const std::lock_guard lock(mutex_);
  for (const SqlRow& row : found) {
    snapshots.push_back(rows::SnapshotOf(row));
    const auto progress = progress_.find(snapshots.back().id);
    if (progress != progress_.end() && snapshots.back().state == SnapshotState::kPending) {
      snapshots.back().progress_percent = progress->second;
    }
  }
  return snapshots;
}

Result<Snapshot> Disks::FindSnapshot(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      context_.database.WithTransaction([&](Transaction& transaction) {
        return transaction.Query(
            fmt::format("SELECT {} FROM vm_snapshots WHERE id = ?", rows::kSnapshotColumns), {id});
      }));
  if (found.empty()) return rows::NoSuchSnapshot(id);
  Snapshot snapshot = rows::SnapshotOf(found[0]);
  const std::lock_guard lock(mutex_);
  const auto progress = progress_.find(id);
  if (progress != progress_.end() && snapshot.state == SnapshotState::kPending) {
    snapshot.progress_percent = progress->second;
  }
  return snapshot;
}

Result<Snapshot> Disks::CreateSnapshot(std::string_view volume_id, std::string_view description,
                                       const TagMap& tags) {
  VMFERRY_ASSIGN_OR_RETURN(
      const Snapshot snapshot,
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<Snapshot> {
        VMFERRY_ASSIGN_OR_RETURN(const Volume volume, rows::VolumeIn(transaction, volume_id));
        if (volume.state != VolumeState::kAvailable && volume.state != VolumeState::kInUse) {
          return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                       fmt::format("the volume {} is {}", volume_id, StateName(volume.state)));
        }
        Snapshot made{.id = NewResourceId(context_.random, "snap-"),
                      .volume_id = volume.id,
                      .parent_id = volume.snapshot_id,
                      .size_gib = volume.size_gib,
                      .description = std::string(description),
                      .start_time = Now()};
        // As on AWS, a volume on an encrypted snapshot and all that is made of it are encrypted.
        VMFERRY_RETURN_IF_ERROR(rows::InheritEncryption(transaction, volume.snapshot_id, made));
        VMFERRY_RETURN_IF_ERROR(rows::InsertSnapshot(transaction, made));
        VMFERRY_RETURN_IF_ERROR(Tags::SetIn(transaction, made.id, tags));
        return made;
      }));
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(snapshot.id);
  }
  changed_.notify_all();
  return snapshot;
}

Result<void> Disks::DeleteSnapshot(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const bool cancelled, uploads_->Cancel(id));
  if (cancelled) return {};
  VMFERRY_ASSIGN_OR_RETURN(const Snapshot snapshot, FindSnapshot(id));
  if (uploads_->IsParent(id)) {
    return Error(ErrorCode::kFailedPrecondition, "region.snapshot_in_use",
                 fmt::format("a pending snapshot needs the blocks of {}", id));
  }
  if (snapshot.state == SnapshotState::kPending) {
    return Error(ErrorCode::kFailedPrecondition, "region.snapshot_in_use",
                 fmt::format("the snapshot {} is still being made", id));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, ListVolumes());
  for (const Volume& volume : volumes) {
    if (volume.snapshot_id != id) continue;
    return Error(ErrorCode::kFailedPrecondition, "region.snapshot_in_use",
                 fmt::format("the volume {} lies on the snapshot {}", volume.id, id));
  }
  VMFERRY_RETURN_IF_ERROR(
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(const std::optional<std::string> image,
                                 Images::UserOf(transaction, id));
        if (image) {
          // EC2's words.
          return Error(ErrorCode::kFailedPrecondition, "region.snapshot_in_use",
                       fmt::format("The snapshot {} is currently in use by {}", id, *image));
        }
        VMFERRY_ASSIGN_OR_RETURN(
            [[maybe_unused]] const std::int64_t changed,
            transaction.Execute("DELETE FROM vm_snapshots WHERE id = ?", {id}));
        VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t upload,
                                 transaction.Execute("DELETE FROM vm_uploads WHERE id = ?", {id}));
        return Tags::RemoveIn(transaction, id);
      }));
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = open_.find(id); found != open_.end()) open_.erase(found);
  }
  SnapshotFile::Remove(folder_, std::string(id));
  return {};
}

Result<std::shared_ptr<const SnapshotFile>> Disks::OpenSnapshot(std::string_view id) {
  constexpr std::size_t kOpenMax = 16;  // each holds two descriptors and at most 16 MiB of bitmap
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = open_.find(id); found != open_.end()) return found->second;
  }
  VMFERRY_ASSIGN_OR_RETURN(const Snapshot snapshot, FindSnapshot(id));
  if (snapshot.state != SnapshotState::kCompleted) {
    return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                 fmt::format("the snapshot {} is {}", id, StateName(snapshot.state)));
  }
  VMFERRY_ASSIGN_OR_RETURN(SnapshotFile file, SnapshotFile::Open(folder_, std::string(id)));
  auto opened = std::make_shared<const SnapshotFile>(std::move(file));
  const std::lock_guard lock(mutex_);
  if (open_.size() >= kOpenMax) open_.erase(open_.begin());
  open_.emplace(id, opened);
  return opened;
}

}  // namespace vmferry::region::vm
