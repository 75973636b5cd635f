// SPDX-License-Identifier: Apache-2.0
#include "region/vm/uploads.h"

#include <fmt/format.h>

#include <array>

#include "base/byte_reader.h"
#include "codec/text_codec.h"
#include "region/vm/disk_rows.h"
#include "region/vm/ids.h"

namespace vmferry::region::vm {
namespace {

constexpr std::array kSchema = {
    "CREATE TABLE vm_uploads (id TEXT PRIMARY KEY, client_token TEXT NOT NULL, fingerprint TEXT NOT"
    " NULL, timeout_minutes INTEGER NOT NULL, phase INTEGER NOT NULL, changed_blocks INTEGER NOT"
    " NULL)",
    "CREATE INDEX vm_uploads_token ON vm_uploads (client_token)",
};

// EBS allows an account as many; each holds three descriptors here.
constexpr std::size_t kPendingMax = 100;

// What a repeated request must have in common with the first.
std::string FingerprintOf(const UploadRequest& request) {
  std::string text =
      fmt::format("{}|{}|{}|{}|{}|{}", request.size_gib, request.parent_id, request.encrypted,
                  request.kms_key_id, request.timeout_minutes, request.description);
  for (const auto& [key, value] : request.tags) {
    text += fmt::format("|{}:{}={}:{}", key.size(), key, value.size(), value);
  }
  return codec::HexEncode(codec::Sha256(AsBytes(text)));
}

Error WrongState(std::string_view id, SnapshotState state) {
  return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
               fmt::format("the snapshot {} is {}", id, StateName(state)));
}

Error Expired(std::string_view id) {
  return Error(ErrorCode::kFailedPrecondition, "region.upload_expired",
               fmt::format("the snapshot {} was not written or completed in time", id));
}

}  // namespace

Result<std::unique_ptr<Uploads>> Uploads::Open(Context& context, const Sandbox& sandbox,
                                               Disks& disks) {
  VMFERRY_RETURN_IF_ERROR(context.database.Migrate("vm_uploads", kSchema));
  return std::unique_ptr<Uploads>(new Uploads(context, sandbox, disks));
}

Uploads::~Uploads() { Stop(); }

Result<void> Uploads::Start() {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> found,
      context_.database.WithTransaction([](Transaction& transaction) {
        return transaction.Query(
            "SELECT id, timeout_minutes, phase, changed_blocks FROM vm_uploads WHERE phase < 2");
      }));
  for (const SqlRow& row : found) {
    VMFERRY_ASSIGN_OR_RETURN(Snapshot snapshot, disks_.FindSnapshot(row.Text(0)));
    auto entry = std::make_shared<Entry>();
    entry->snapshot = std::move(snapshot);
    entry->timeout_seconds = row.Int(1) * 60;
    entry->phase = static_cast<Phase>(row.Int(2));
    entry->changed_blocks = row.Uint(3);
    entry->last_use = disks_.Now();
    const std::lock_guard lock(mutex_);
    entries_[row.Text(0)] = std::move(entry);
  }
  worker_ = std::jthread([this](std::stop_token stop) { Work(stop); });
  return {};
}

void Uploads::Stop() {
  worker_.request_stop();
  changed_.notify_all();
  if (worker_.joinable()) worker_.join();
}

Result<Snapshot> Uploads::Begin(const UploadRequest& request) {
  const std::lock_guard begin_lock(begin_mutex_);
  const std::string fingerprint = FingerprintOf(request);
  if (!request.client_token.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> found,
                             context_.database.WithTransaction([&](Transaction& transaction) {
                               return transaction.Query(
                                   "SELECT id, fingerprint FROM vm_uploads WHERE client_token = ?",
                                   {request.client_token});
                             }));
    if (!found.empty() && found[0].Text(1) != fingerprint) {
      return Error(
          ErrorCode::kAlreadyExists, "region.token_conflict",
          fmt::format("the client token of {} came with other parameters", found[0].Text(0)));
    }
    if (!found.empty()) return disks_.FindSnapshot(found[0].Text(0));
  }
  return BeginNew(request, fingerprint);
}

Result<Snapshot> Uploads::BeginNew(const UploadRequest& request, const std::string& fingerprint) {
  {
    const std::lock_guard lock(mutex_);
    if (entries_.size() >= kPendingMax) {
      return Error(ErrorCode::kResourceExhausted, "region.too_many_pending",
                   fmt::format("{} snapshots are pending", kPendingMax));
    }
  }
  Snapshot snapshot{.id = NewResourceId(context_.random, "snap-"),
                    .volume_id = std::string(kNoVolume),
                    .parent_id = request.parent_id,
                    .size_gib = request.size_gib,
                    .description = request.description,
                    .start_time = disks_.Now(),
                    .encrypted = request.encrypted,
                    .kms_key_id = request.kms_key_id};
  if (!request.parent_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const Snapshot parent, disks_.FindSnapshot(request.parent_id));
    if (parent.state != SnapshotState::kCompleted) return WrongState(parent.id, parent.state);
    if (parent.size_gib > request.size_gib) {
      return Error(ErrorCode::kFailedPrecondition, "region.parent_larger",
                   fmt::format("the parent {} has {} GiB", parent.id, parent.size_gib));
    }
    snapshot.encrypted = parent.encrypted;
    snapshot.kms_key_id = parent.kms_key_id;
  }
  // Files first, records second: files without a record are removed at the next start.
  VMFERRY_ASSIGN_OR_RETURN(
      std::shared_ptr<SnapshotUpload> file,
      SnapshotUpload::Create(disks_.folder(), snapshot.id, snapshot.size_gib * kGiB));
  VMFERRY_ASSIGN_OR_RETURN(snapshot, Record(request, std::move(snapshot), fingerprint));
  auto entry = std::make_shared<Entry>();
  entry->snapshot = snapshot;
  entry->timeout_seconds = static_cast<std::int64_t>(request.timeout_minutes) * 60;
  entry->last_use = snapshot.start_time;
  entry->file = std::move(file);
  const std::lock_guard lock(mutex_);
  entries_[snapshot.id] = std::move(entry);
  return snapshot;
}

Result<Snapshot> Uploads::Record(const UploadRequest& request, Snapshot snapshot,
                                 const std::string& fingerprint) {
  return context_.database.WithTransaction([&](Transaction& transaction) -> Result<Snapshot> {
    VMFERRY_RETURN_IF_ERROR(rows::InsertSnapshot(transaction, snapshot));
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const std::int64_t changed,
        transaction.Execute(
            "INSERT INTO vm_uploads (id, client_token, fingerprint, timeout_minutes, phase,"
            " changed_blocks) VALUES (?,?,?,?,0,0)",
            {snapshot.id, request.client_token, fingerprint, request.timeout_minutes}));
    VMFERRY_RETURN_IF_ERROR(Tags::SetIn(transaction, snapshot.id, request.tags));
    return snapshot;
  });
}

Uploads::EntryPtr Uploads::Find(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : found->second;
}

// For ids that are not pending uploads.
Error Uploads::WhyNot(std::string_view id) {
  const auto snapshot = disks_.FindSnapshot(id);
  if (!snapshot) return snapshot.error();
  const auto rows = context_.database.WithTransaction([&](Transaction& transaction) {
    return transaction.Query("SELECT phase FROM vm_uploads WHERE id = ?", {id});
  });
  const bool expired =
      rows && !rows->empty() && static_cast<Phase>((*rows)[0].Int(0)) == Phase::kExpired;
  return expired ? Expired(id) : WrongState(id, snapshot->state);
}

Result<std::shared_ptr<SnapshotUpload>> Uploads::FileOf(const EntryPtr& entry) {
  const std::lock_guard lock(mutex_);
  if (entry->file == nullptr) {
    VMFERRY_ASSIGN_OR_RETURN(entry->file,
                             SnapshotUpload::Open(disks_.folder(), entry->snapshot.id));
  }
  return entry->file;
}

Result<void> Uploads::Put(std::string_view id, std::uint64_t index,
                          std::span<const std::byte> block, const codec::Sha256Digest& digest,
                          std::optional<int> progress_percent) {
  const EntryPtr entry = Find(id);
  if (entry == nullptr) return WhyNot(id);
  if (TimeIsUp(*entry)) Expire(entry);
  {
    const std::lock_guard lock(mutex_);
    if (entry->phase == Phase::kExpired) return Expired(id);
    if (entry->phase != Phase::kTaking) return WrongState(id, SnapshotState::kPending);
    entry->last_use = disks_.Now();
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto file, FileOf(entry));
  VMFERRY_RETURN_IF_ERROR(file->Put(index, block, digest));
  if (progress_percent) disks_.SetProgress(entry->snapshot.id, *progress_percent);
  return {};
}

Result<SnapshotState> Uploads::Complete(std::string_view id, std::uint64_t changed_blocks,
                                        const std::optional<codec::Sha256Digest>& linear_checksum) {
  const auto wrong_count = [&](std::uint64_t written) {
    return Error(ErrorCode::kInvalidArgument, "region.wrong_block_count",
                 fmt::format("{} blocks of {} were written, not {}", written, id, changed_blocks));
  };
  const EntryPtr entry = Find(id);
  if (entry == nullptr) {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> rows,
        context_.database.WithTransaction([&](Transaction& transaction) {
          return transaction.Query(
              "SELECT changed_blocks FROM vm_uploads WHERE id = ? AND phase = ?",
              {id, static_cast<int>(Phase::kDone)});
        }));
    if (rows.empty()) return WhyNot(id);
    if (rows[0].Uint(0) != changed_blocks) return wrong_count(rows[0].Uint(0));
    return SnapshotState::kCompleted;
  }
  if (TimeIsUp(*entry)) Expire(entry);
  const std::lock_guard ending(entry->ending);
  {
    const std::lock_guard lock(mutex_);
    if (entry->phase == Phase::kExpired) return Expired(id);
    if (entry->phase != Phase::kTaking) {
      if (entry->changed_blocks != changed_blocks) return wrong_count(entry->changed_blocks);
      return SnapshotState::kPending;
    }
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto file, FileOf(entry));
  file->Close();
  const auto end = [&]() -> Result<void> {
    if (file->written_count() != changed_blocks) return wrong_count(file->written_count());
    if (linear_checksum) {
      VMFERRY_ASSIGN_OR_RETURN(const codec::Sha256Digest digest, file->LinearChecksum());
      if (digest != *linear_checksum) {
        return Error(ErrorCode::kInvalidArgument, "region.wrong_aggregate",
                     fmt::format("the aggregated checksum of {} is another", id));
      }
    }
    return context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
      VMFERRY_ASSIGN_OR_RETURN(
          [[maybe_unused]] const std::int64_t changed,
          transaction.Execute("UPDATE vm_uploads SET phase = ?, changed_blocks = ? WHERE id = ?",
                              {static_cast<int>(Phase::kCompleting), changed_blocks, id}));
      return {};
    });
  };
  if (auto ended = end(); !ended) {
    file->Reopen();
    return std::move(ended).error();
  }
  {
    const std::lock_guard lock(mutex_);
    entry->phase = Phase::kCompleting;
    entry->changed_blocks = changed_blocks;
  }
  changed_.notify_all();
  return SnapshotState::kPending;
}

void Uploads::Forget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  entries_.erase(id);
}

Result<bool> Uploads::Cancel(std::string_view id) {
  const EntryPtr entry = Find(id);
  if (entry == nullptr) return false;
  const std::lock_guard ending(entry->ending);
  {
    const std::lock_guard lock(mutex_);
    if (entry->phase == Phase::kCompleting) {
      return Error(ErrorCode::kFailedPrecondition, "region.snapshot_in_use",
                   fmt::format("the snapshot {} is still being made", id));
    }
    if (entry->phase != Phase::kTaking) return false;  // it ended while we waited
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto file, FileOf(entry));
  file->Close();
  VMFERRY_RETURN_IF_ERROR(
      context_.database.WithTransaction([&](Transaction& transaction) -> Result<void> {
        for (const char* sql :
             {"DELETE FROM vm_uploads WHERE id = ?", "DELETE FROM vm_snapshots WHERE id = ?"}) {
          VMFERRY_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t changed,
                                   transaction.Execute(sql, {id}));
        }
        return Tags::RemoveIn(transaction, id);
      }));
  {
    const std::lock_guard lock(mutex_);
    entry->phase = Phase::kExpired;
  }
  Forget(entry->snapshot.id);
  SnapshotFile::Remove(disks_.folder(), entry->snapshot.id);
  SnapshotUpload::RemoveScratch(disks_.folder(), entry->snapshot.id);
  return true;
}

bool Uploads::IsParent(std::string_view id) {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(
      entries_, [&](const auto& item) { return item.second->snapshot.parent_id == id; });
}

Result<std::vector<std::string>> Uploads::Files() {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> found,
                           context_.database.WithTransaction([](Transaction& transaction) {
                             return transaction.Query("SELECT id FROM vm_uploads WHERE phase < 2");
                           }));
  std::vector<std::string> names;
  for (const SqlRow& row : found) {
    for (const char* suffix : {".raw", ".puts", ".over"}) names.push_back(row.Text(0) + suffix);
  }
  return names;
}

}  // namespace vmferry::region::vm
