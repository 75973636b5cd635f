// SPDX-License-Identifier: Apache-2.0
//
// Uploads: snapshots that clients write block by block (EBS direct APIs), from begin to completed.
//
// pending (takes blocks) -> completing (a worker puts it together) -> completed, or error when it
// timed out or could not be put together. All of it survives a crash; only the time since the last
// block is counted anew after a restart.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "region/core/context.h"
#include "region/vm/disks.h"
#include "region/vm/sandbox.h"
#include "region/vm/snapshot_upload.h"

namespace vmferry::region::vm {

/// The volume id that EC2 shows for snapshots that are of no volume.
inline constexpr std::string_view kNoVolume = "vol-ffffffff";

struct UploadRequest {
  std::uint64_t size_gib = 0;
  std::string parent_id;  ///< empty: none
  std::string description;
  TagMap tags;
  std::string client_token;  ///< empty: none
  bool encrypted = false;
  std::string kms_key_id;  ///< full ARN; only when encrypted
  std::uint64_t timeout_minutes = 60;
};

class Uploads {
 public:
  /// Makes the table. All arguments outlive it.
  static Result<std::unique_ptr<Uploads>> Open(Context& context, const Sandbox& sandbox,
                                               Disks& disks);
  ~Uploads();
  Uploads(const Uploads&) = delete;
  Uploads& operator=(const Uploads&) = delete;

  /// Goes on with what was under way.
  Result<void> Start();
  void Stop();

  /// Begins a snapshot; the one of before for a client token seen before. A child has its parent's
  /// encryption and key.
  ///
  /// Errors: kAlreadyExists region.token_conflict (same token, other parameters); kNotFound
  ///         region.no_such_snapshot (the parent); kFailedPrecondition region.wrong_state (the
  ///         parent is not completed), region.parent_larger; kResourceExhausted
  ///         region.too_many_pending; those of sys::File.
  Result<Snapshot> Begin(const UploadRequest& request);

  /// Writes a block: SnapshotUpload::Put. `progress_percent` is what the client says.
  /// Errors: also kNotFound region.no_such_snapshot; kFailedPrecondition region.wrong_state (it is
  ///         not pending), region.upload_expired.
  Result<void> Put(std::string_view id, std::uint64_t index, std::span<const std::byte> block,
                   const codec::Sha256Digest& digest, std::optional<int> progress_percent);

  /// Ends the writing. Answers kCompleted when it was completed before, else kPending: a worker
  /// does the rest. May be repeated.
  /// Errors: as Put; kInvalidArgument region.wrong_block_count, region.wrong_aggregate.
  Result<SnapshotState> Complete(std::string_view id, std::uint64_t changed_blocks,
                                 const std::optional<codec::Sha256Digest>& linear_checksum);

  /// Forgets a pending snapshot and its blocks; false when it is none of these.
  /// Errors: kFailedPrecondition region.snapshot_in_use (it is being put together).
  Result<bool> Cancel(std::string_view id);
  /// True while a pending snapshot needs the blocks of `id`.
  bool IsParent(std::string_view id);
  /// Names of the files that belong to pending uploads.
  Result<std::vector<std::string>> Files();

 private:
  // Stored by number: never renumber.
  enum class Phase : std::uint8_t { kTaking = 0, kCompleting = 1, kDone = 2, kExpired = 3 };

  struct Entry {
    Snapshot snapshot;
    std::int64_t timeout_seconds = 0;
    std::mutex ending;  ///< held by Complete, Cancel and expiry: one of them at a time
    // Guarded by Uploads::mutex_.
    Phase phase = Phase::kTaking;
    std::uint64_t changed_blocks = 0;  ///< what Complete was told
    std::int64_t last_use = 0;
    std::shared_ptr<SnapshotUpload> file;  // shared with Puts under way
  };
  using EntryPtr = std::shared_ptr<Entry>;  // shared: a Cancel may come during a Put

  Uploads(Context& context, const Sandbox& sandbox, Disks& disks)
      : context_(context), sandbox_(sandbox), disks_(disks) {}

  Result<Snapshot> BeginNew(const UploadRequest& request, const std::string& fingerprint);
  Result<Snapshot> Record(const UploadRequest& request, Snapshot snapshot,
                          const std::string& fingerprint);
  EntryPtr Find(std::string_view id);
  Error WhyNot(std::string_view id);
  Result<std::shared_ptr<SnapshotUpload>> FileOf(const EntryPtr& entry);
  Result<void> End(Entry& entry, Phase phase, SnapshotState state, std::uint64_t written,
                   std::string_view message);
  bool TimeIsUp(const Entry& entry);
  void Expire(const EntryPtr& entry);
  void ExpireAll();
  void Work(std::stop_token stop);
  void Finish(const EntryPtr& entry, std::stop_token stop);
  Result<void> PutTogether(const EntryPtr& entry, std::stop_token stop);
  void Forget(const std::string& id);

  Context& context_;
  const Sandbox& sandbox_;
  Disks& disks_;

  std::mutex begin_mutex_;  // one Begin at a time; before mutex_
  std::mutex mutex_;        // std's own: the wait cannot be annotated. Guards entries_.
  std::condition_variable_any changed_;
  std::map<std::string, EntryPtr, std::less<>> entries_;  // pending ones; at most kPendingMax
  std::jthread worker_;                                   // last: joined before the rest goes
};

}  // namespace vmferry::region::vm
