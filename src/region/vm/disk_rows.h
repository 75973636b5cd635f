// SPDX-License-Identifier: Apache-2.0
//
// Rows of the tables of volumes and snapshots; private to disks*.cc.

#pragma once

#include <array>
#include <string>
#include <string_view>

#include "region/core/database.h"
#include "region/vm/disks.h"

namespace vmferry::region::vm::rows {

inline constexpr std::array kDiskSchema = {
    "CREATE TABLE vm_volumes (id TEXT PRIMARY KEY, state INTEGER NOT NULL, size_gib INTEGER NOT"
    " NULL, snapshot_id TEXT NOT NULL, zone TEXT NOT NULL, create_time INTEGER NOT NULL,"
    " instance_id TEXT NOT NULL, device TEXT NOT NULL, attach_time INTEGER NOT NULL,"
    " delete_on_termination INTEGER NOT NULL)",
    "CREATE INDEX vm_volumes_instance ON vm_volumes (instance_id)",
    "CREATE TABLE vm_snapshots (id TEXT PRIMARY KEY, state INTEGER NOT NULL, volume_id TEXT NOT"
    " NULL, parent_id TEXT NOT NULL, size_gib INTEGER NOT NULL, written_blocks INTEGER NOT NULL,"
    " description TEXT NOT NULL, start_time INTEGER NOT NULL, completion_time INTEGER NOT NULL,"
    " message TEXT NOT NULL)",
    "ALTER TABLE vm_snapshots ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_snapshots ADD COLUMN kms_key_id TEXT NOT NULL DEFAULT ''",
};

// Migrated after kDiskSchema, as a component of its own.
inline constexpr std::array kVolumeSchema = {
    "ALTER TABLE vm_volumes ADD COLUMN volume_type TEXT NOT NULL DEFAULT 'gp2'",
    "ALTER TABLE vm_volumes ADD COLUMN encrypted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_volumes ADD COLUMN iops INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_volumes ADD COLUMN throughput INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_volumes ADD COLUMN attach_state INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE vm_volumes ADD COLUMN position INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX vm_volumes_snapshot ON vm_volumes (snapshot_id)",
};

inline constexpr std::string_view kVolumeColumns =
    "id, state, size_gib, snapshot_id, zone, create_time, instance_id, device, attach_time,"
    " delete_on_termination, volume_type, encrypted, iops, throughput, attach_state, position";
inline constexpr std::string_view kSnapshotColumns =
    "id, state, volume_id, parent_id, size_gib, written_blocks, description, start_time,"
    " completion_time, message, encrypted, kms_key_id";

Volume VolumeOf(const SqlRow& row);
Snapshot SnapshotOf(const SqlRow& row);

/// Errors: kNotFound region.no_such_volume.
Result<Volume> VolumeIn(Transaction& transaction, std::string_view id);
/// Inserts the record as it is. Errors: kAlreadyExists region.database_conflict.
Result<void> AddVolume(Transaction& transaction, const Volume& volume);
/// Writes state and attachment of a volume that may change to `state`.
/// Errors: kFailedPrecondition region.wrong_state.
Result<void> MoveVolume(Transaction& transaction, const Volume& volume, VolumeState state);

/// Writes a snapshot that is new.
Result<void> InsertSnapshot(Transaction& transaction, const Snapshot& snapshot);
/// Gives `snapshot` the encryption and key of the snapshot `parent_id`, when there is one.
Result<void> InheritEncryption(Transaction& transaction, std::string_view parent_id,
                               Snapshot& snapshot);
/// Writes how the making of a snapshot ended.
Result<void> EndSnapshot(Transaction& transaction, std::string_view id, SnapshotState state,
                         std::uint64_t written_blocks, std::string_view message, std::int64_t time);

Error NoSuchSnapshot(std::string_view id);

}  // namespace vmferry::region::vm::rows
