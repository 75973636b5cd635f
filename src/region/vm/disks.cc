// SPDX-License-Identifier: Apache-2.0
//
// Volumes: records, files, claims. Snapshots are in disks_snapshots.cc.
#include "region/vm/disks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "region/vm/disk_rows.h"
#include "region/vm/ids.h"
#include "region/vm/uploads.h"
#include "region/vm/volume_file.h"

namespace vmferry::region::vm {
namespace {

Error Busy(const Volume& volume) {
  return Error(ErrorCode::kFailedPrecondition, "region.volume_in_use",
               volume.instance_id.empty()
                   ? fmt::format("the volume {} is being read or written", volume.id)
                   : fmt::format("the volume {} is attached to {}", volume.id, volume.instance_id));
}

}  // namespace

Disks::Disks(Context& context, const Sandbox& sandbox, Tags tags, Encryption encryption)
    : context_(context),
      sandbox_(sandbox),
      folder_(context.settings.folder / "vm"),
      tool_(context.clock, sandbox),
      tags_(std::move(tags)),
      encryption_(encryption) {}

Disks::~Disks() {
  worker_.request_stop();
  changed_.notify_all();
}

Result<std::unique_ptr<Disks>> Disks::Open(Context& context, const Sandbox& sandbox) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_disks", rows::kDiskSchema));
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_volumes", rows::kVolumeSchema));
  VMFERRY_ASSIGN_OR_RETURN(Tags tags, Tags::Open(context.database));
  VMFERRY_ASSIGN_OR_RETURN(const Encryption encryption, Encryption::Open(context));
  std::unique_ptr<Disks> disks(new Disks(context, sandbox, std::move(tags), encryption));
  VMFERRY_ASSIGN_OR_RETURN(disks->uploads_, Uploads::Open(context, sandbox, *disks));
  VMFERRY_RETURN_IF_ERROR(sandbox.MakeShelf(disks->folder_));
  return disks;
}

std::int64_t Disks::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

Result<std::vector<Volume>> Disks::ListVolumes() {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> found,
                           context_.database.WithTransaction([](Transaction& transaction) {
                             return transaction.Query(fmt::format(
                                 "SELECT {} FROM vm_volumes ORDER BY id", rows::kVolumeColumns));
                           }));
  std::vector<Volume> volumes;
  for (const SqlRow& row : found) volumes.push_back(rows::VolumeOf(row));
  return volumes;
}

Result<Volume> Disks::FindVolume(std::string_view id) {
  return context_.database.WithTransaction(
      [&](Transaction& transaction) { return rows::VolumeIn(transaction, id); });
}

Result<std::vector<Volume>> Disks::VolumesOf(std::string_view instance_id) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> found,
                           context_.database.WithTransaction([&](Transaction& transaction) {
                             return transaction.Query(
                                 fmt::format("SELECT {} FROM vm_volumes WHERE instance_id = ?"
                                             " ORDER BY position, attach_time, id",
                                             rows::kVolumeColumns),
                                 {instance_id});
                           }));
  std::vector<Volume> volumes;
  for (const SqlRow& row : found) volumes.push_back(rows::VolumeOf(row));
  return volumes;
}

Result<Volume> Disks::CreateVolume(Volume volume, const TagMap& tags) {
  if (volume.id.empty()) volume.id = NewResourceId(context_.random, "vol-");
  volume.state = VolumeState::kAvailable;
  volume.create_time = Now();
  return context_.database.WithTransaction([&](Transaction& transaction) {
    return CreateVolumeIn(transaction, std::move(volume), tags);
  });
}

Result<Volume> Disks::CreateVolumeIn(Transaction& transaction, Volume volume, const TagMap& tags) {
  if (!volume.snapshot_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> found,
        transaction.Query(
            fmt::format("SELECT {} FROM vm_snapshots WHERE id = ?", rows::kSnapshotColumns),
            {volume.snapshot_id}));
    if (found.empty()) return rows::NoSuchSnapshot(volume.snapshot_id);
    const Snapshot snapshot = rows::SnapshotOf(found[0]);
    if (snapshot.state != SnapshotState::kCompleted) {
      return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                   fmt::format("the snapshot {} is {}", snapshot.id, StateName(snapshot.state)));
    }
    volume.encrypted = volume.encrypted || snapshot.encrypted;
    if (volume.size_gib == 0) volume.size_gib = snapshot.size_gib;
    if (volume.size_gib < snapshot.size_gib) {
      return Error(ErrorCode::kInvalidArgument, "region.volume_too_small",
                   fmt::format("a volume of {} GiB cannot hold the snapshot {} of {} GiB",
                               volume.size_gib, snapshot.id, snapshot.size_gib));
    }
  }
  VMFERRY_RETURN_IF_ERROR(rows::AddVolume(transaction, volume));
  VMFERRY_RETURN_IF_ERROR(Tags::SetIn(transaction, volume.id, tags));
  return volume;
}

Result<void> Disks::Adopt(Volume volume, const std::filesystem::path& file, const TagMap& tags) {
  const std::filesystem::path target = folder_ / VolumeFile(volume.id);
  VMFERRY_RETURN_IF_ERROR(sandbox_.TakeBack(file));
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File content,
                             sys::File::Open(file, sys::File::Mode::kReadWrite));
    VMFERRY_RETURN_IF_ERROR(content.Sync());
  }
  if (::rename(file.c_str(), target.c_str()) != 0) return sys::ErrnoError("move", file, errno);
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(folder_));
  volume.state = VolumeState::kAvailable;
  volume.create_time = Now();
  volume.instance_id.clear();
  volume.device.clear();
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    // A stage of an import that a crash interrupted is begun again: it may be there already.
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute("DELETE FROM vm_volumes WHERE id = ?", {volume.id}));
    VMFERRY_RETURN_IF_ERROR(rows::AddVolume(transaction, volume));
    return Tags::SetIn(transaction, volume.id, tags);
  });
}

Result<void> Disks::Attach(std::string_view volume_id, std::string_view instance_id,
                           std::string_view device, bool delete_on_termination,
                           AttachState attach_state) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(Volume volume, rows::VolumeIn(transaction, volume_id));
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> others,
        transaction.Query("SELECT device, position FROM vm_volumes WHERE instance_id = ?"
                          " AND id <> ?",
                          {instance_id, volume_id}));
    volume.position = 0;
    for (const SqlRow& other : others) {
      if (other.Text(0) == device) {
        return Error(
            ErrorCode::kAlreadyExists, "region.device_taken",
            fmt::format("Invalid value '{}' for unixDevice. Attachment point {} is already "
                        "in use",
                        device, device));
      }
      volume.position = std::max(volume.position, static_cast<std::uint32_t>(other.Uint(1)) + 1);
    }
    volume.instance_id = instance_id;
    volume.device = device;
    volume.attach_time = Now();
    volume.delete_on_termination = delete_on_termination;
    volume.attach_state = attach_state;
    return rows::MoveVolume(transaction, volume, VolumeState::kInUse);
  });
}

Result<void> Disks::SetAttachState(std::string_view volume_id, AttachState attach_state) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t changed,
        transaction.Execute("UPDATE vm_volumes SET attach_state = ? WHERE id = ?",
                            {static_cast<int>(attach_state), volume_id}));
    if (changed == 0) return rows::VolumeIn(transaction, volume_id).error();
    return {};
  });
}

Result<void> Disks::SetDeleteOnTermination(std::string_view volume_id, bool delete_on_termination) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t changed,
        transaction.Execute("UPDATE vm_volumes SET delete_on_termination = ? WHERE id = ?",
                            {delete_on_termination, volume_id}));
    if (changed == 0) return rows::VolumeIn(transaction, volume_id).error();
    return {};
  });
}

Result<void> Disks::Detach(std::string_view volume_id) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(Volume volume, rows::VolumeIn(transaction, volume_id));
    volume.instance_id.clear();
    volume.device.clear();
    volume.delete_on_termination = false;
    volume.attach_state = AttachState::kAttached;
    return rows::MoveVolume(transaction, volume, VolumeState::kAvailable);
  });
}

Result<void> Disks::DeleteVolume(std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, FindVolume(id));
  if (volume.state == VolumeState::kInUse || UserOf(id) != VolumeUser::kNobody) {
    return Busy(volume);
  }
  return Purge(id);
}

Result<void> Disks::Purge(std::string_view id) {
  if (!Reserve(id, VolumeUser::kTool)) return Busy(Volume{.id = std::string(id)});
  const auto purge = [&]() -> Result<void> {
    // The record says `deleting` before the file goes, and goes after it.
    VMFERRY_RETURN_IF_ERROR(
        context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
          VMFERRY_ASSIGN_OR_RETURN(
              [[maybe_unused]] const std::int64_t changed,
              transaction.Execute("UPDATE vm_volumes SET state = ? WHERE id = ?",
                                  {static_cast<int>(VolumeState::kDeleting), id}));
          return {};
        }));
    VMFERRY_RETURN_IF_ERROR(sys::RemoveFile(folder_ / VolumeFile(id)));
    return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
      VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                               transaction.Execute("DELETE FROM vm_volumes WHERE id = ?", {id}));
      return Tags::RemoveIn(transaction, id);
    });
  };
  Result<void> purged = purge();
  Unreserve(id);
  return purged;
}

Result<void> Disks::ReleaseAll(std::string_view instance_id) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, VolumesOf(instance_id));
  for (const Volume& volume : volumes) {
    VMFERRY_RETURN_IF_ERROR(volume.delete_on_termination ? Purge(volume.id) : Detach(volume.id));
  }
  return {};
}

VolumeUser Disks::UserOf(std::string_view volume_id) {
  const std::lock_guard lock(mutex_);
  const auto found = users_.find(volume_id);
  return found == users_.end() ? VolumeUser::kNobody : found->second;
}

bool Disks::Reserve(std::string_view volume_id, VolumeUser user) {
  const std::lock_guard lock(mutex_);
  return users_.emplace(volume_id, user).second;
}

void Disks::Unreserve(std::string_view volume_id) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = users_.find(volume_id); found != users_.end()) users_.erase(found);
  }
  changed_.notify_all();
}

// Makes the file of a volume that is a record alone, and lets its snapshot be read.
Result<void> Disks::EnsureFile(std::string_view volume_id) {
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, FindVolume(volume_id));
  std::string backing;
  if (!volume.snapshot_id.empty()) {
    backing = volume.snapshot_id + ".raw";
    VMFERRY_RETURN_IF_ERROR(sandbox_.Share(folder_ / backing));
  }
  std::error_code ignored;
  if (std::filesystem::exists(folder_ / VolumeFile(volume_id), ignored)) return {};
  return MakeVolumeFile(context_.clock, sandbox_, folder_, VolumeFile(volume_id),
                        volume.size_gib * kGiB, backing);
}

Result<bool> Disks::Claim(std::string_view volume_id, VolumeUser user) {
  if (!Reserve(volume_id, user)) return false;
  Result<void> ready = EnsureFile(volume_id);
  if (ready) ready = sandbox_.Give(folder_ / VolumeFile(volume_id));
  if (!ready) {
    Unreserve(volume_id);
    return ready.error();
  }
  return true;
}

void Disks::ReleaseFrom(std::string_view volume_id, VolumeUser user) {
  if (UserOf(volume_id) == user) Release(volume_id);
}

void Disks::Release(std::string_view volume_id) {
  // A failure leaves the file with the unprivileged user, which the next Claim gives it anyway.
  if (auto back = sandbox_.TakeBack(folder_ / VolumeFile(volume_id)); !back) {
    context_.log.Warn("volume not taken back",
                      {{"volume", volume_id}, {"error", back.error().ToString()}});
  }
  Unreserve(volume_id);
}

Result<void> Disks::FlipByte(std::string_view volume_id, std::uint64_t offset_bytes) {
  VMFERRY_ASSIGN_OR_RETURN(const Volume volume, FindVolume(volume_id));
  if (offset_bytes >= volume.size_gib * kGiB) {
    return Error(ErrorCode::kOutOfRange, "region.offset_past_end",
                 fmt::format("the volume {} ends at byte {}", volume.id, volume.size_gib * kGiB));
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool claimed, Claim(volume_id, VolumeUser::kTool));
  if (!claimed) return Busy(volume);
  Result<void> flipped = tool_.FlipByte(folder_, VolumeFile(volume_id), offset_bytes, {});
  Release(volume_id);
  return flipped;
}

Result<void> Disks::Sweep() {
  std::set<std::string> known;
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Volume> volumes, ListVolumes());
  for (const Volume& volume : volumes) {
    if (volume.state == VolumeState::kDeleting) {
      VMFERRY_RETURN_IF_ERROR(Purge(volume.id));
    } else {
      known.insert(VolumeFile(volume.id));
    }
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<Snapshot> snapshots, ListSnapshots());
  for (const Snapshot& snapshot : snapshots) {
    if (snapshot.state != SnapshotState::kCompleted) continue;
    for (const char* suffix : {".raw", ".blocks", ".leaves"}) known.insert(snapshot.id + suffix);
  }
  VMFERRY_ASSIGN_OR_RETURN(std::vector<std::string> uploads, uploads_->Files());
  known.insert(std::make_move_iterator(uploads.begin()), std::make_move_iterator(uploads.end()));
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, failure)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name.starts_with("vol-") || name.starts_with("snap-");
    if (!ours || known.contains(name)) continue;
    context_.log.Info("leftover removed", {{"file", name}});
    std::error_code ignored;
    std::filesystem::remove_all(entry.path(), ignored);
  }
  return {};
}

}  // namespace vmferry::region::vm
