// SPDX-License-Identifier: Apache-2.0
//
// Store: the durable state of migrations, the journal. What it has returned success for survives
// kill -9 and power loss.
//
// It keeps records and knows no rules: which step may follow which is migration/'s business.
//
// Thread safety: all methods may be called from any thread, and by several processes at once.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace vmferry::store {

struct MigrationRow {
  std::string id;
  std::string state;  ///< a word of migration/: "running", "done"...
  WallTime created;
  WallTime updated;
  std::string spec;   ///< JSON: what was asked for and what was found at the source
  std::string error;  ///< JSON of the last failure, empty without one
};

struct StepRow {
  std::string step;
  std::string status;
  WallTime started;
  std::optional<WallTime> ended;
  std::string detail;  ///< one sentence for people
};

/// A piece whose acceptance by the target is known.
struct PieceRow {
  std::uint64_t number = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint32_t crc32c = 0;
  std::string etag;
  WallTime confirmed;
};

/// Where an encoder stood behind a piece: written before the piece is sent, so that a run cut off
/// can go on from there.
struct CursorRow {
  std::uint64_t number = 0;  ///< of the piece
  std::uint64_t guest_offset_bytes = 0;
  std::uint64_t output_offset_bytes = 0;
  std::uint32_t crc32c = 0;      ///< of the piece
  std::vector<std::byte> state;  ///< the encoder's own
};

/// What is known of 4,096 neighbouring blocks of the guest: [index * 4096, index * 4096 + 4096).
struct LeafBlobRow {
  std::uint64_t index = 0;
  std::uint64_t data_blocks = 0;
  std::uint64_t zero_blocks = 0;
  std::uint64_t hole_blocks = 0;
};

/// Something that a migration created or is about to create in the cloud.
struct LedgerRow {
  std::string migration_id;
  std::string kind;      ///< "bucket", "object", "import-task", "instance", "volume", "snapshot"
  std::string resource;  ///< its name or id; objects as "bucket/key"
  std::string state;     ///< "intended", "created", "kept", "removed"
  WallTime updated;
};

class Store {
 public:
  virtual ~Store() = default;

  /// Errors: kAlreadyExists store.exists.
  virtual Result<void> CreateMigration(const MigrationRow& row) = 0;
  /// Errors: kNotFound store.no_such_migration.
  virtual Result<MigrationRow> Migration(std::string_view id) const = 0;
  /// Oldest first.
  virtual Result<std::vector<MigrationRow>> Migrations() const = 0;
  /// Errors: kNotFound store.no_such_migration.
  virtual Result<void> SetState(std::string_view id, std::string_view state, std::string_view error,
                                WallTime now) = 0;

  /// Facts that steps leave for later steps: "instance_id", "import_task"... All or none of them
  /// are written; an existing fact is replaced.
  virtual Result<void> PutFacts(std::string_view id,
                                const std::map<std::string, std::string>& facts) = 0;
  virtual Result<std::map<std::string, std::string>> Facts(std::string_view id) const = 0;

  virtual Result<void> PutStep(std::string_view id, const StepRow& row) = 0;
  virtual Result<std::vector<StepRow>> Steps(std::string_view id) const = 0;

  /// In one commit. A piece that is confirmed already gets the new record.
  virtual Result<void> ConfirmPieces(std::string_view id, std::uint32_t disk,
                                     std::span<const PieceRow> pieces) = 0;
  /// By number.
  virtual Result<std::vector<PieceRow>> Pieces(std::string_view id, std::uint32_t disk) const = 0;
  /// Records a cursor, or replaces the one of the same piece. In the same commit, a piece that was
  /// confirmed with another checksum is not confirmed any more: it is about to be replaced.
  virtual Result<void> PutCursor(std::string_view id, std::uint32_t disk,
                                 const CursorRow& cursor) = 0;
  /// By number.
  virtual Result<std::vector<CursorRow>> Cursors(std::string_view id, std::uint32_t disk) const = 0;
  /// Forgets cursors from a number on; what was confirmed stays.
  virtual Result<void> DropCursors(std::string_view id, std::uint32_t disk,
                                   std::uint64_t first_number) = 0;
  /// Forgets pieces and cursors from a number on.
  virtual Result<void> DropPieces(std::string_view id, std::uint32_t disk,
                                  std::uint64_t first_number) = 0;

  /// Empty `leaves` stand for blocks that are all zero.
  virtual Result<void> PutLeafBlob(std::string_view id, std::uint32_t disk, const LeafBlobRow& row,
                                   std::span<const std::byte> leaves) = 0;
  /// By index, without the leaves.
  virtual Result<std::vector<LeafBlobRow>> LeafBlobs(std::string_view id,
                                                     std::uint32_t disk) const = 0;
  /// The leaves of one blob; empty when they are all zero or were never put.
  virtual Result<std::vector<std::byte>> Leaves(std::string_view id, std::uint32_t disk,
                                                std::uint64_t index) const = 0;

  /// Adds the entry or changes its state.
  virtual Result<void> PutLedger(const LedgerRow& row) = 0;
  /// In the order of their first recording.
  virtual Result<std::vector<LedgerRow>> Ledger(std::string_view id) const = 0;
  /// All migrations' entries about one resource.
  virtual Result<std::vector<LedgerRow>> LedgerOf(std::string_view kind,
                                                  std::string_view resource) const = 0;

  /// Leaves a command ("cancel") for the process that runs the migration.
  virtual Result<void> PutControl(std::string_view id, std::string_view command) = 0;
  virtual Result<std::optional<std::string>> Control(std::string_view id) const = 0;
  virtual Result<void> ClearControl(std::string_view id) = 0;
};

}  // namespace vmferry::store
