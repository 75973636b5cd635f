// SPDX-License-Identifier: Apache-2.0
//
// Snapshots that are not made from a volume: a finished raw disk becomes one.
#include <algorithm>

#include "region/vm/disk_rows.h"
#include "region/vm/disks.h"

namespace vmferry::region::vm {
namespace {

// EC2 shows some volume for every snapshot; for imported ones it is none that exists.
constexpr std::string_view kNoVolume = "vol-ffffffff";

Result<BlockMap> MapOfRuns(const sys::File& raw, std::uint64_t volume_bytes) {
  BlockMap map(volume_bytes);
  for (std::uint64_t at = 0; at < volume_bytes;) {
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, raw.RunAt(at));
    if (!run.hole) map.Mark(at, run.length_bytes);
    at += std::max<std::uint64_t>(run.length_bytes, 1);
  }
  return map;
}

}  // namespace

Result<void> Disks::AdoptSnapshot(Snapshot snapshot, const std::filesystem::path& raw,
                                  const OpContext& op, const std::function<void(int)>& progress) {
  const std::uint64_t volume_bytes = snapshot.size_gib * kGiB;
  VMFERRY_RETURN_IF_ERROR(sandbox_.Share(raw));
  std::optional<BlockMap> map;
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File file,
                             sys::File::Open(raw, sys::File::Mode::kReadWrite));
    VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t size, file.Size());
    VMFERRY_CHECK(size <= volume_bytes);
    VMFERRY_RETURN_IF_ERROR(file.Truncate(volume_bytes));
    VMFERRY_RETURN_IF_ERROR(file.Sync());
    VMFERRY_ASSIGN_OR_RETURN(map, MapOfRuns(file, volume_bytes));
  }
  const std::filesystem::path target = folder_ / (snapshot.id + ".raw");
  std::error_code failure;
  std::filesystem::rename(raw, target, failure);
  if (failure) return sys::ErrnoError("move", target, failure.value());
  const auto record = [&]() -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(SnapshotFile::Complete(folder_, snapshot.id, *map, op.stop, progress));
    VMFERRY_ASSIGN_OR_RETURN(const bool encrypted, encryption_.ByDefault());
    Snapshot made{.id = snapshot.id,
                  .state = SnapshotState::kCompleted,
                  .volume_id = std::string(kNoVolume),
                  .size_gib = snapshot.size_gib,
                  .written_blocks = map->CountWritten(),
                  .description = snapshot.description,
                  .start_time = snapshot.start_time,
                  .completion_time = Now(),
                  .encrypted = encrypted,
                  .kms_key_id = encrypted ? encryption_.DefaultKeyArn() : std::string()};
    return context_.database.WithTransaction(
        [&](Transaction& transaction) { return rows::InsertSnapshot(transaction, made); });
  };
  Result<void> recorded = record();
  if (!recorded) SnapshotFile::Remove(folder_, snapshot.id);
  return recorded;
}

}  // namespace vmferry::region::vm
