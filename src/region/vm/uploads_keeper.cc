// SPDX-License-Identifier: Apache-2.0
//
// Uploads, second half: the worker that finishes snapshots and ends those whose time is up.
#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "region/vm/disk_rows.h"
#include "region/vm/uploads.h"

namespace vmferry::region::vm {
namespace {

constexpr std::chrono::milliseconds kTick{500};

std::uint64_t SeedOf(std::string_view id) {
  const codec::Sha256Digest digest = codec::Sha256(AsBytes(id));
  return ByteReader(digest).U64Le();
}

}  // namespace

// A fault rule of the stage "snapshot.timeout" makes the time be up at once.
bool Uploads::TimeIsUp(const Entry& entry) {
  {
    const std::lock_guard lock(mutex_);
    if (entry.phase != Phase::kTaking) return false;
    if (disks_.Now() - entry.last_use > entry.timeout_seconds) return true;
  }
  const auto fault = context_.faults.Take("snapshot.timeout");
  return fault && fault->kind == FaultKind::kFail;
}

void Uploads::Expire(const EntryPtr& entry) {
  const std::lock_guard ending(entry->ending);
  {
    const std::lock_guard lock(mutex_);
    if (entry->phase != Phase::kTaking) return;
  }
  // The file is opened for its lock on further Puts only; one that cannot be opened takes none.
  if (const auto file = FileOf(entry)) (*file)->Close();
  const auto ended = End(*entry, Phase::kExpired, SnapshotState::kError, 0,
                         "The snapshot was not completed within its timeout");
  if (!ended) {
    context_.log.Warn("snapshot not expired",
                      {{"snapshot", entry->snapshot.id}, {"error", ended.error().ToString()}});
  }
}

void Uploads::ExpireAll() {
  std::vector<EntryPtr> late;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (entry->phase == Phase::kTaking &&
          disks_.Now() - entry->last_use > entry->timeout_seconds) {
        late.push_back(entry);
      }
    }
  }
  for (const EntryPtr& entry : late) Expire(entry);
}

Result<void> Uploads::End(Entry& entry, Phase phase, SnapshotState state, std::uint64_t written,
                          std::string_view message) {
  const std::string& id = entry.snapshot.id;
  VMFERRY_RETURN_IF_ERROR(
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                                 transaction.Execute("UPDATE vm_uploads SET phase = ? WHERE id = ?",
                                                     {static_cast<int>(phase), id}));
        return rows::EndSnapshot(transaction, id, state, written, message, disks_.Now());
      }));
  {
    const std::lock_guard lock(mutex_);
    entry.phase = phase;
    entry.file = nullptr;
    entries_.erase(id);
  }
  disks_.ClearProgress(id);
  if (state == SnapshotState::kError) SnapshotFile::Remove(disks_.folder(), id);
  SnapshotUpload::RemoveScratch(disks_.folder(), id);
  return {};
}

void Uploads::Work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    EntryPtr next;
    {
      std::unique_lock lock(mutex_);
      const auto completing = [&] {
        const auto found = std::ranges::find_if(
            entries_, [](const auto& item) { return item.second->phase == Phase::kCompleting; });
        next = found == entries_.end() ? nullptr : found->second;
        return next != nullptr;
      };
      changed_.wait_for(lock, stop, kTick, completing);
    }
    if (stop.stop_requested()) return;
    if (next != nullptr) {
      Finish(next, stop);
    } else {
      ExpireAll();
    }
  }
}

void Uploads::Finish(const EntryPtr& entry, std::stop_token stop) {
  Result<void> finished = PutTogether(entry, stop);
  if (finished || stop.stop_requested()) return;
  context_.log.Warn("snapshot failed",
                    {{"snapshot", entry->snapshot.id}, {"error", finished.error().ToString()}});
  finished = End(*entry, Phase::kDone, SnapshotState::kError, 0, finished.error().ToString());
  // The database fails, too: again at the next tick, not at once.
  if (!finished) context_.clock.SleepFor(std::chrono::seconds(1), {.stop = stop});
}

Result<void> Uploads::PutTogether(const EntryPtr& entry, std::stop_token stop) {
  const Snapshot& snapshot = entry->snapshot;
  if (const auto fault = context_.faults.Take("snapshot.complete")) {
    if (fault->kind == FaultKind::kFail) {
      return Error(ErrorCode::kInternal, "region.fault", fault->message);
    }
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto file, FileOf(entry));
  file->Close();
  std::shared_ptr<const SnapshotFile> parent;
  if (!snapshot.parent_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(parent, disks_.OpenSnapshot(snapshot.parent_id));
  }
  const auto seed = snapshot.encrypted ? std::optional(SeedOf(snapshot.id)) : std::nullopt;
  VMFERRY_ASSIGN_OR_RETURN(const BlockMap map,
                           file->Assemble(parent.get(), seed, stop, [&](int percent) {
                             disks_.SetProgress(snapshot.id, percent);
                           }));
  VMFERRY_RETURN_IF_ERROR(sandbox_.Share(disks_.folder() / (snapshot.id + ".raw")));
  return End(*entry, Phase::kDone, SnapshotState::kCompleted, map.CountWritten(), "");
}

}  // namespace vmferry::region::vm
