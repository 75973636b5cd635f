// SPDX-License-Identifier: Apache-2.0
//
// SnapshotUpload: the files of one snapshot that arrives block by block, in any order.
//
//   ID.raw    blocks at their places, as the finished snapshot has them
//   ID.over   blocks that replaced others: an acknowledged block is never written over
//   ID.puts   one record for each acknowledged block: index, place, SHA-256. Truth: what has no
//             record was never written
//
// An acknowledged Put survives kill -9 and power loss: the block is synced before its record, the
// record before the answer. Puts that arrive together share both syncs.
//
// Thread safety: Put from any thread; Assemble when no Put is under way (Close sees to it).

#pragma once

#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "codec/digest.h"
#include "region/vm/snapshot_file.h"
#include "sys/file.h"

namespace vmferry::region::vm {

class SnapshotUpload {
 public:
  /// Makes the files of an upload without blocks, durably.
  static Result<std::unique_ptr<SnapshotUpload>> Create(const std::filesystem::path& folder,
                                                        const std::string& id,
                                                        std::uint64_t volume_bytes);
  /// Opens what an earlier run left; records that were never acknowledged in full are cut off.
  /// Errors: kDataLoss region.snapshot_damaged; those of sys::File.
  static Result<std::unique_ptr<SnapshotUpload>> Open(const std::filesystem::path& folder,
                                                      const std::string& id);
  /// Removes what only an upload has: ID.puts and ID.over.
  static void RemoveScratch(const std::filesystem::path& folder, const std::string& id);

  std::uint64_t block_count() const { return DivCeil(volume_bytes_, kEbsBlockBytes); }
  /// Distinct blocks acknowledged.
  std::uint64_t written_count() const;

  /// Writes one block, durably when this returns. `digest` is its SHA-256. Writing the same
  /// content again costs nothing.
  ///
  /// Errors: kAborted region.block_conflict (another Put of the same block is under way);
  ///         kFailedPrecondition region.wrong_state (after Close); kOutOfRange
  ///         region.block_past_end; those of sys::File.
  Result<void> Put(std::uint64_t index, std::span<const std::byte> block,
                   const codec::Sha256Digest& digest);

  /// Refuses further Puts and waits for those under way.
  void Close();
  /// Takes Puts again, after a Close that led to nothing.
  void Reopen();

  /// SHA-256 over the digests of all blocks in ascending order: EBS's LINEAR aggregate.
  Result<codec::Sha256Digest> LinearChecksum() const;

  /// Makes ID.raw, ID.leaves and ID.blocks what a finished snapshot has: blocks of ID.over and of
  /// the parent are copied in, what was never acknowledged is removed. May be repeated after a
  /// crash. `garbage_seed`, when given, fills the first 4 KiB of every block that nobody wrote,
  /// as unwritten blocks of encrypted volumes read. Pre: Close.
  ///
  /// Errors: kCancelled process.stopped; those of sys::File.
  Result<BlockMap> Assemble(const SnapshotFile* parent, std::optional<std::uint64_t> garbage_seed,
                            std::stop_token stop, const std::function<void(int)>& progress);

 private:
  struct Record {
    std::uint64_t index = 0;
    std::uint64_t slot = 0;  ///< 0: at its place in ID.raw; else number in ID.over, from 1
    codec::Sha256Digest digest{};
  };
  /// Puts that are made durable together.
  struct Batch {
    std::vector<Record> records;
    bool done = false;
    std::optional<Error> failure;
  };

  SnapshotUpload(std::filesystem::path folder, std::string id, std::uint64_t volume_bytes,
                 sys::File raw, sys::File over, sys::File puts);

  static std::string Encode(const Record& record);
  static std::optional<Record> Decode(std::span<const std::byte> bytes);

  Result<void> Replay();
  Result<Record> RecordNumber(std::uint32_t number) const;
  /// The number (from 1) of the last record of a block; 0: none.
  std::uint32_t NumberOf(std::uint64_t index) const;
  void Remember(const Record& record, std::uint32_t number);
  Result<void> Write(const Record& record, std::span<const std::byte> block);
  Result<void> Commit(const Record& record);
  Result<void> SyncBatch(const Batch& batch);
  Result<void> CopyReplaced(const BlockMap& own, std::stop_token stop);
  Result<void> DropStray(const BlockMap& own);
  Result<void> CopyParent(const SnapshotFile& parent, const BlockMap& own, std::stop_token stop);
  Result<void> FillGarbage(const BlockMap& map, std::uint64_t seed, std::stop_token stop);

  const std::filesystem::path folder_;
  const std::string id_;
  const std::uint64_t volume_bytes_;
  const sys::File raw_;
  const sys::File over_;
  const sys::File puts_;

  mutable std::mutex mutex_;  // std's own: the waits below cannot be annotated. Guards the rest.
  std::condition_variable changed_;
  bool closed_ = false;
  std::set<std::uint64_t> under_way_;
  // Last record of each block, in pages of 4,096: 4 bytes for a block of 512 KiB.
  std::vector<std::unique_ptr<std::uint32_t[]>> numbers_;
  std::uint64_t written_ = 0;
  std::uint32_t record_count_ = 0;
  std::uint64_t slot_count_ = 0;
  std::vector<std::uint64_t> free_slots_;
  bool syncing_ = false;
  std::shared_ptr<Batch> batch_ = std::make_shared<Batch>();  // shared by the Puts that wait on it
};

}  // namespace vmferry::region::vm
