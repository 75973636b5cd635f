// SPDX-License-Identifier: Apache-2.0
//
// SqliteStore: the Store in one SQLite file on a local file system.

#pragma once

#include <memory>

#include "base/mutex.h"
#include "sqlite/database.h"
#include "store/store.h"

namespace vmferry::store {

class SqliteStore final : public Store {
 public:
  /// Opens `path` or creates it. Errors: those of sqlite::Connection::Open and Migrate.
  static Result<std::unique_ptr<SqliteStore>> Open(const std::filesystem::path& path);

  explicit SqliteStore(sqlite::Connection connection) : connection_(std::move(connection)) {}

  Result<void> CreateMigration(const MigrationRow& row) override;
  Result<MigrationRow> Migration(std::string_view id) const override;
  Result<std::vector<MigrationRow>> Migrations() const override;
  Result<void> SetState(std::string_view id, std::string_view state, std::string_view error,
                        WallTime now) override;
  Result<void> PutFacts(std::string_view id,
                        const std::map<std::string, std::string>& facts) override;
  Result<std::map<std::string, std::string>> Facts(std::string_view id) const override;
  Result<void> PutStep(std::string_view id, const StepRow& row) override;
  Result<std::vector<StepRow>> Steps(std::string_view id) const override;
  Result<void> ConfirmPieces(std::string_view id, std::uint32_t disk,
                             std::span<const PieceRow> pieces) override;
  Result<std::vector<PieceRow>> Pieces(std::string_view id, std::uint32_t disk) const override;
  Result<void> PutCursor(std::string_view id, std::uint32_t disk, const CursorRow& cursor) override;
  Result<std::vector<CursorRow>> Cursors(std::string_view id, std::uint32_t disk) const override;
  Result<void> DropCursors(std::string_view id, std::uint32_t disk,
                           std::uint64_t first_number) override;
  Result<void> DropPieces(std::string_view id, std::uint32_t disk,
                          std::uint64_t first_number) override;
  Result<void> PutLeafBlob(std::string_view id, std::uint32_t disk, const LeafBlobRow& row,
                           std::span<const std::byte> leaves) override;
  Result<std::vector<LeafBlobRow>> LeafBlobs(std::string_view id,
                                             std::uint32_t disk) const override;
  Result<std::vector<std::byte>> Leaves(std::string_view id, std::uint32_t disk,
                                        std::uint64_t index) const override;
  Result<void> PutLedger(const LedgerRow& row) override;
  Result<std::vector<LedgerRow>> Ledger(std::string_view id) const override;
  Result<std::vector<LedgerRow>> LedgerOf(std::string_view kind,
                                          std::string_view resource) const override;
  Result<void> PutControl(std::string_view id, std::string_view command) override;
  Result<std::optional<std::string>> Control(std::string_view id) const override;
  Result<void> ClearControl(std::string_view id) override;

 private:
  mutable Mutex mutex_;
  mutable sqlite::Connection connection_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::store
