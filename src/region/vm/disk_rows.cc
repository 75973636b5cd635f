// SPDX-License-Identifier: Apache-2.0
#include "region/vm/disk_rows.h"

#include <fmt/format.h>

namespace vmferry::region::vm::rows {

Volume VolumeOf(const SqlRow& row) {
  return Volume{.id = row.Text(0),
                .state = static_cast<VolumeState>(row.Int(1)),
                .size_gib = row.Uint(2),
                .snapshot_id = row.Text(3),
                .zone = row.Text(4),
                .create_time = row.Int(5),
                .instance_id = row.Text(6),
                .device = row.Text(7),
                .attach_time = row.Int(8),
                .delete_on_termination = row.Int(9) != 0,
                .volume_type = row.Text(10),
                .encrypted = row.Int(11) != 0,
                .iops = row.Uint(12),
                .throughput = row.Uint(13),
                .attach_state = static_cast<AttachState>(row.Int(14)),
                .position = static_cast<std::uint32_t>(row.Uint(15))};
}

Snapshot SnapshotOf(const SqlRow& row) {
  const auto state = static_cast<SnapshotState>(row.Int(1));
  return Snapshot{.id = row.Text(0),
                  .state = state,
                  .progress_percent = state == SnapshotState::kCompleted ? 100 : 0,
                  .volume_id = row.Text(2),
                  .parent_id = row.Text(3),
                  .size_gib = row.Uint(4),
                  .written_blocks = row.Uint(5),
                  .description = row.Text(6),
                  .start_time = row.Int(7),
                  .completion_time = row.Int(8),
                  .message = row.Text(9),
                  .encrypted = row.Int(10) != 0,
                  .kms_key_id = row.Text(11)};
}

Result<Volume> VolumeIn(Transaction& transaction, std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query(fmt::format("SELECT {} FROM vm_volumes WHERE id = ?", kVolumeColumns),
                        {id}));
  if (found.empty()) {
    return Error(ErrorCode::kNotFound, "region.no_such_volume",
                 fmt::format("the volume {} does not exist", id));
  }
  return VolumeOf(found[0]);
}

Result<void> AddVolume(Transaction& transaction, const Volume& volume) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute(
          fmt::format("INSERT INTO vm_volumes ({}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                      kVolumeColumns),
          {volume.id, static_cast<int>(volume.state), volume.size_gib, volume.snapshot_id,
           volume.zone, volume.create_time, volume.instance_id, volume.device, volume.attach_time,
           volume.delete_on_termination, volume.volume_type, volume.encrypted, volume.iops,
           volume.throughput, static_cast<int>(volume.attach_state), volume.position}));
  return {};
}

Result<void> MoveVolume(Transaction& transaction, const Volume& volume, VolumeState state) {
  if (!MayFollow(volume.state, state)) {
    return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
                 fmt::format("the volume {} is {}", volume.id, StateName(volume.state)));
  }
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute("UPDATE vm_volumes SET state = ?, instance_id = ?, device = ?,"
                          " attach_time = ?, delete_on_termination = ?, attach_state = ?,"
                          " position = ? WHERE id = ?",
                          {static_cast<int>(state), volume.instance_id, volume.device,
                           volume.attach_time, volume.delete_on_termination,
                           static_cast<int>(volume.attach_state), volume.position, volume.id}));
  return {};
}

Result<void> InsertSnapshot(Transaction& transaction, const Snapshot& snapshot) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute(
          fmt::format("INSERT INTO vm_snapshots ({}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                      kSnapshotColumns),
          {snapshot.id, static_cast<int>(snapshot.state), snapshot.volume_id, snapshot.parent_id,
           snapshot.size_gib, snapshot.written_blocks, snapshot.description, snapshot.start_time,
           snapshot.completion_time, snapshot.message, snapshot.encrypted ? 1 : 0,
           snapshot.kms_key_id}));
  return {};
}

Result<void> InheritEncryption(Transaction& transaction, std::string_view parent_id,
                               Snapshot& snapshot) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      transaction.Query("SELECT encrypted, kms_key_id FROM vm_snapshots WHERE id = ?",
                        {parent_id}));
  if (found.empty()) return {};
  snapshot.encrypted = found[0].Int(0) != 0;
  snapshot.kms_key_id = found[0].Text(1);
  return {};
}

Result<void> EndSnapshot(Transaction& transaction, std::string_view id, SnapshotState state,
                         std::uint64_t written_blocks, std::string_view message,
                         std::int64_t time) {
  VMFERRY_ASSIGN_OR_RETURN(
      [[maybe_unused]] const std::int64_t changed,
      transaction.Execute("UPDATE vm_snapshots SET state = ?, written_blocks = ?, message = ?,"
                          " completion_time = ? WHERE id = ?",
                          {static_cast<int>(state), written_blocks, message, time, id}));
  return {};
}

Error NoSuchSnapshot(std::string_view id) {
  return Error(ErrorCode::kNotFound, "region.no_such_snapshot",
               fmt::format("the snapshot {} does not exist", id));
}

}  // namespace vmferry::region::vm::rows
