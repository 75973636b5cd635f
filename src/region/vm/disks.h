// SPDX-License-Identifier: Apache-2.0
//
// Disks: volumes and snapshots, their files and their records.
//
// A volume is a qcow2 file, alone or as overlay on a snapshot's raw file; a snapshot is the three
// files of snapshot_file.h. Files with content are made first, records second: after kill -9 a file
// without a record is removed at the next start, a snapshot without all its files is made again or
// ends in `error`. A volume that begins empty or as its snapshot is a record alone until somebody
// claims it: then its file is made.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "region/core/context.h"
#include "region/core/service.h"
#include "region/vm/disk_tool.h"
#include "region/vm/encryption.h"
#include "region/vm/sandbox.h"
#include "region/vm/snapshot_file.h"
#include "region/vm/states.h"
#include "region/vm/tags.h"

namespace vmferry::region::vm {

struct Volume {
  std::string id;
  VolumeState state = VolumeState::kCreating;
  std::uint64_t size_gib = 0;
  std::string snapshot_id;  ///< the snapshot it lies on; empty: none
  std::string zone;
  std::int64_t create_time = 0;  ///< seconds since the epoch, as all times here
  std::string instance_id;       ///< attached to; empty: to none
  std::string device;            ///< "/dev/sda1"
  std::int64_t attach_time = 0;
  bool delete_on_termination = false;
  std::string volume_type = "gp2";
  bool encrypted = false;
  std::uint64_t iops = 0;        ///< as asked for; 0: the type's
  std::uint64_t throughput = 0;  ///< MiB/s, as asked for; 0: the type's
  AttachState attach_state = AttachState::kAttached;
  /// Among the instance's disks, ascending: the order in which the guest finds them.
  std::uint32_t position = 0;
};

struct Snapshot {
  std::string id;
  SnapshotState state = SnapshotState::kPending;
  int progress_percent = 0;
  std::string volume_id;
  std::string parent_id;  ///< the snapshot it was made from, in a line; empty: none
  std::uint64_t size_gib = 0;
  std::uint64_t written_blocks = 0;
  std::string description;
  std::int64_t start_time = 0;
  std::int64_t completion_time = 0;
  std::string message;  ///< why it ended in error
  bool encrypted = false;
  std::string kms_key_id;  ///< full ARN of the key; empty when not encrypted
};

class Uploads;

/// Who may touch a volume's file at the moment.
enum class VolumeUser : std::uint8_t { kNobody, kTool, kInstance };

class Disks final : public Component {
 public:
  /// Opens the store in `context.settings.folder / "vm"`. `context` and `sandbox` outlive it.
  static Result<std::unique_ptr<Disks>> Open(Context& context, const Sandbox& sandbox);
  ~Disks() override;

  // Component. Start sweeps what a crash left and goes on with pending snapshots.
  std::string_view Name() const override { return "disks"; }
  Result<void> Start() override;
  void Stop(const OpContext& context) override;

  /// The folder of disks and instances: the working folder of everything confined.
  const std::filesystem::path& folder() const { return folder_; }
  const DiskTool& tool() const { return tool_; }
  Tags& tags() { return tags_; }
  Encryption& encryption() { return encryption_; }
  /// Snapshots that clients write block by block.
  Uploads& uploads() { return *uploads_; }

  Result<std::vector<Volume>> ListVolumes();
  /// Those attached to the instance, by position.
  Result<std::vector<Volume>> VolumesOf(std::string_view instance_id);
  /// Errors: kNotFound region.no_such_volume.
  Result<Volume> FindVolume(std::string_view id);
  /// Records an available volume, empty or with the snapshot's content. `id` may be empty; state
  /// and time are set here. A size of 0 is the snapshot's.
  /// Errors: kNotFound region.no_such_snapshot; kFailedPrecondition region.wrong_state (the
  /// snapshot is not completed); kInvalidArgument region.volume_too_small.
  Result<Volume> CreateVolume(Volume volume, const TagMap& tags);
  /// The same inside a transaction of the caller's, who sets id, state, times and attachment.
  static Result<Volume> CreateVolumeIn(Transaction& transaction, Volume volume, const TagMap& tags);
  /// Takes a finished qcow2 file over as the volume `volume.id` (state and time are set here).
  /// Post: file and record are durable; `file` is gone.
  Result<void> Adopt(Volume volume, const std::filesystem::path& file, const TagMap& tags);
  /// Attaches an available volume behind the instance's other disks.
  /// Errors: kNotFound region.no_such_volume; kFailedPrecondition region.wrong_state;
  /// kAlreadyExists region.device_taken.
  Result<void> Attach(std::string_view volume_id, std::string_view instance_id,
                      std::string_view device, bool delete_on_termination,
                      AttachState attach_state = AttachState::kAttached);
  /// Errors: kNotFound region.no_such_volume.
  Result<void> SetAttachState(std::string_view volume_id, AttachState attach_state);
  Result<void> SetDeleteOnTermination(std::string_view volume_id, bool delete_on_termination);
  /// Makes an attached volume available.
  /// Errors: kNotFound region.no_such_volume; kFailedPrecondition region.wrong_state.
  Result<void> Detach(std::string_view volume_id);
  /// Deletes an available volume. Errors: kFailedPrecondition region.volume_in_use,
  /// region.wrong_state; kNotFound region.no_such_volume.
  Result<void> DeleteVolume(std::string_view id);
  /// Deletes the volume whatever it is attached to; nothing when there is none.
  Result<void> Purge(std::string_view id);
  /// Detaches or deletes (by delete_on_termination) all volumes of a terminated instance.
  Result<void> ReleaseAll(std::string_view instance_id);
  std::string VolumeFile(std::string_view id) const { return std::string(id) + ".qcow2"; }

  /// Reserves the volume's file for a user and gives it to the sandbox; makes it when it is not
  /// there yet. False while somebody else has it.
  Result<bool> Claim(std::string_view volume_id, VolumeUser user);
  void Release(std::string_view volume_id);
  /// The same when `user` has it; nothing otherwise.
  void ReleaseFrom(std::string_view volume_id, VolumeUser user);

  Result<std::vector<Snapshot>> ListSnapshots();
  /// Errors: kNotFound region.no_such_snapshot.
  Result<Snapshot> FindSnapshot(std::string_view id);
  /// Records a pending snapshot and begins it in the background. The content is that of the moment
  /// in which the worker takes it: at once, unless other snapshots are before it.
  /// Errors: kNotFound region.no_such_volume; kFailedPrecondition region.wrong_state.
  Result<Snapshot> CreateSnapshot(std::string_view volume_id, std::string_view description,
                                  const TagMap& tags);
  /// Takes a raw disk over as the completed snapshot `snapshot.id` of `snapshot.size_gib`: its
  /// holes are the blocks that were not written. State, counts and completion are set here.
  /// Post: files and record are durable; `raw` is gone. On error the record does not exist.
  Result<void> AdoptSnapshot(Snapshot snapshot, const std::filesystem::path& raw,
                             const OpContext& op, const std::function<void(int)>& progress);
  /// Also ends a pending one that is being uploaded.
  /// Errors: kNotFound region.no_such_snapshot; kFailedPrecondition region.snapshot_in_use.
  Result<void> DeleteSnapshot(std::string_view id);
  /// The bytes of a completed snapshot. Errors: kNotFound region.no_such_snapshot;
  /// kFailedPrecondition region.wrong_state; kDataLoss region.snapshot_damaged.
  Result<std::shared_ptr<const SnapshotFile>> OpenSnapshot(std::string_view id);

  /// Flips the bits of one byte of an idle volume: for tests and demonstrations.
  /// Errors: kFailedPrecondition region.volume_in_use; kOutOfRange region.offset_past_end.
  Result<void> FlipByte(std::string_view volume_id, std::uint64_t offset_bytes);

 private:
  friend class Uploads;

  Disks(Context& context, const Sandbox& sandbox, Tags tags, Encryption encryption);

  Result<void> Sweep();
  bool Reserve(std::string_view volume_id, VolumeUser user);
  void Unreserve(std::string_view volume_id);
  Result<void> EnsureFile(std::string_view volume_id);
  void Work(std::stop_token stop);
  Result<void> MakeSnapshot(const Snapshot& snapshot, std::stop_token stop);
  Result<void> CopyOfRunning(const Snapshot& snapshot, const std::filesystem::path& target);
  Result<BlockMap> MapOf(const Volume& volume, const std::filesystem::path& folder,
                         const std::string& file, const OpContext& op);
  Result<void> Finish(const Snapshot& snapshot, SnapshotState state, std::uint64_t written,
                      std::string_view message);
  void SetProgress(const std::string& snapshot_id, int percent);
  void ClearProgress(const std::string& snapshot_id);
  VolumeUser UserOf(std::string_view volume_id);
  std::int64_t Now() const;

  Context& context_;
  const Sandbox& sandbox_;
  const std::filesystem::path folder_;
  DiskTool tool_;
  Tags tags_;
  Encryption encryption_;

  std::mutex mutex_;  // std's own: the wait below cannot be annotated. Guards what follows.
  std::condition_variable_any changed_;
  std::deque<std::string> waiting_;
  std::map<std::string, VolumeUser, std::less<>> users_;
  std::map<std::string, int, std::less<>> progress_;
  // Shared with readers: a snapshot may be deleted while it is being read.
  std::map<std::string, std::shared_ptr<const SnapshotFile>, std::less<>> open_;

  std::unique_ptr<Uploads> uploads_;
  std::jthread worker_;  // last: joined before the rest goes
};

}  // namespace vmferry::region::vm
