// SPDX-License-Identifier: Apache-2.0
#include "store/sqlite_store.h"

#include <fmt/format.h>

namespace vmferry::store {
namespace {

// Times are whole microseconds since the epoch. Released migrations are never changed.
constexpr sqlite::Migration kSchema[] = {
    {1, R"sql(
CREATE TABLE migrations (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  updated_us INTEGER NOT NULL,
  spec TEXT NOT NULL,
  error TEXT NOT NULL
);
CREATE TABLE facts (
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (migration_id, name)
) WITHOUT ROWID;
CREATE TABLE steps (
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  step TEXT NOT NULL,
  status TEXT NOT NULL,
  started_us INTEGER NOT NULL,
  ended_us INTEGER,
  detail TEXT NOT NULL,
  PRIMARY KEY (migration_id, step)
);
CREATE TABLE pieces (
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  disk INTEGER NOT NULL,
  number INTEGER NOT NULL,
  offset_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  etag TEXT NOT NULL,
  confirmed_us INTEGER NOT NULL,
  PRIMARY KEY (migration_id, disk, number)
) WITHOUT ROWID;
CREATE TABLE leaf_blobs (
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  disk INTEGER NOT NULL,
  blob_index INTEGER NOT NULL,
  data_blocks INTEGER NOT NULL,
  zero_blocks INTEGER NOT NULL,
  hole_blocks INTEGER NOT NULL,
  leaves BLOB NOT NULL,
  PRIMARY KEY (migration_id, disk, blob_index)
);
CREATE TABLE ledger (
  entry INTEGER PRIMARY KEY,
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  kind TEXT NOT NULL,
  resource TEXT NOT NULL,
  state TEXT NOT NULL,
  updated_us INTEGER NOT NULL,
  UNIQUE (migration_id, kind, resource)
);
CREATE INDEX ledger_by_resource ON ledger (kind, resource);
CREATE TABLE control (
  migration_id TEXT PRIMARY KEY REFERENCES migrations (id),
  command TEXT NOT NULL
);
)sql"},
    {2, R"sql(
CREATE TABLE encoder_cursors (
  migration_id TEXT NOT NULL REFERENCES migrations (id),
  disk INTEGER NOT NULL,
  number INTEGER NOT NULL,
  guest_offset_bytes INTEGER NOT NULL,
  output_offset_bytes INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  state BLOB NOT NULL,
  PRIMARY KEY (migration_id, disk, number)
);
)sql"},
};

std::int64_t ToMicroseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

WallTime FromMicroseconds(std::int64_t microseconds) {
  return WallTime(std::chrono::microseconds(microseconds));
}

MigrationRow ReadMigration(const sqlite::Statement& row) {
  return {.id = row.Text(0),
          .state = row.Text(1),
          .created = FromMicroseconds(row.Int(2)),
          .updated = FromMicroseconds(row.Int(3)),
          .spec = row.Text(4),
          .error = row.Text(5)};
}

LedgerRow ReadLedger(const sqlite::Statement& row) {
  return {.migration_id = row.Text(0),
          .kind = row.Text(1),
          .resource = row.Text(2),
          .state = row.Text(3),
          .updated = FromMicroseconds(row.Int(4))};
}

// All rows of a prepared and bound query.
template <typename Read>
auto ReadAll(sqlite::Statement& query, Read read)
    -> Result<std::vector<std::invoke_result_t<Read, const sqlite::Statement&>>> {
  std::vector<std::invoke_result_t<Read, const sqlite::Statement&>> rows;
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return rows;
    rows.push_back(read(query));
  }
}

Error NoSuchMigration(std::string_view id) {
  return Error(ErrorCode::kNotFound, "store.no_such_migration",
               fmt::format("there is no migration {}", id))
      .WithRemedy("vmferry status lists them");
}

}  // namespace

Result<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::filesystem::path& path) {
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Connection connection, sqlite::Connection::Open(path));
  VMFERRY_RETURN_IF_ERROR(connection.Migrate("store", kSchema));
  return std::make_unique<SqliteStore>(std::move(connection));
}

Result<void> SqliteStore::CreateMigration(const MigrationRow& row) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement insert,
      connection_.Prepare(
          "INSERT INTO migrations VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"));
  insert.Bind(1, row.id).Bind(2, row.state).Bind(3, ToMicroseconds(row.created));
  insert.Bind(4, ToMicroseconds(row.updated)).Bind(5, row.spec).Bind(6, row.error);
  VMFERRY_RETURN_IF_ERROR(insert.Run());
  if (connection_.Changes() == 1) return {};
  return Error(ErrorCode::kAlreadyExists, "store.exists",
               fmt::format("migration {} exists already", row.id));
}

Result<MigrationRow> SqliteStore::Migration(std::string_view id) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement query,
                           connection_.Prepare("SELECT * FROM migrations WHERE id = ?"));
  query.Bind(1, id);
  VMFERRY_ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return NoSuchMigration(id);
  return ReadMigration(query);
}

Result<std::vector<MigrationRow>> SqliteStore::Migrations() const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement query,
                           connection_.Prepare("SELECT * FROM migrations ORDER BY created_us, id"));
  return ReadAll(query, ReadMigration);
}

Result<void> SqliteStore::SetState(std::string_view id, std::string_view state,
                                   std::string_view error, WallTime now) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement update,
      connection_.Prepare(
          "UPDATE migrations SET state = ?, error = ?, updated_us = ? WHERE id = ?"));
  update.Bind(1, state).Bind(2, error).Bind(3, ToMicroseconds(now)).Bind(4, id);
  VMFERRY_RETURN_IF_ERROR(update.Run());
  if (connection_.Changes() == 1) return {};
  return NoSuchMigration(id);
}

Result<void> SqliteStore::PutFacts(std::string_view id,
                                   const std::map<std::string, std::string>& facts) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement put,
      connection_.Prepare(
          "INSERT OR REPLACE INTO facts (migration_id, name, value) VALUES (?, ?, ?)"));
  return connection_.Transaction([&]() -> Result<void> {
    for (const auto& [name, value] : facts) {
      put.Reset();
      VMFERRY_RETURN_IF_ERROR(put.Bind(1, id).Bind(2, name).Bind(3, value).Run());
    }
    return {};
  });
}

Result<std::map<std::string, std::string>> SqliteStore::Facts(std::string_view id) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT name, value FROM facts WHERE migration_id = ?"));
  query.Bind(1, id);
  std::map<std::string, std::string> facts;
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(const bool more, query.Step());
    if (!more) return facts;
    facts[query.Text(0)] = query.Text(1);
  }
}

Result<void> SqliteStore::PutStep(std::string_view id, const StepRow& row) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement put,
      connection_.Prepare("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (migration_id, "
                          "step) DO UPDATE SET status = excluded.status, started_us = "
                          "excluded.started_us, ended_us = excluded.ended_us, detail = "
                          "excluded.detail"));
  put.Bind(1, id).Bind(2, row.step).Bind(3, row.status).Bind(4, ToMicroseconds(row.started));
  if (row.ended) {
    put.Bind(5, ToMicroseconds(*row.ended));
  } else {
    put.BindNull(5);
  }
  return put.Bind(6, row.detail).Run();
}

Result<std::vector<StepRow>> SqliteStore::Steps(std::string_view id) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT step, status, started_us, ended_us, detail FROM steps WHERE "
                          "migration_id = ? ORDER BY rowid"));
  query.Bind(1, id);
  return ReadAll(query, [](const sqlite::Statement& row) {
    StepRow step{.step = row.Text(0),
                 .status = row.Text(1),
                 .started = FromMicroseconds(row.Int(2)),
                 .ended = std::nullopt,
                 .detail = row.Text(4)};
    if (!row.IsNull(3)) step.ended = FromMicroseconds(row.Int(3));
    return step;
  });
}

Result<void> SqliteStore::ConfirmPieces(std::string_view id, std::uint32_t disk,
                                        std::span<const PieceRow> pieces) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement insert,
      connection_.Prepare("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
  return connection_.Transaction([&]() -> Result<void> {
    for (const PieceRow& piece : pieces) {
      insert.Reset();
      insert.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, piece.number);
      insert.Bind(4, piece.offset_bytes).Bind(5, piece.length_bytes);
      insert.Bind(6, std::uint64_t{piece.crc32c}).Bind(7, piece.etag);
      VMFERRY_RETURN_IF_ERROR(insert.Bind(8, ToMicroseconds(piece.confirmed)).Run());
    }
    return {};
  });
}

Result<std::vector<PieceRow>> SqliteStore::Pieces(std::string_view id, std::uint32_t disk) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT number, offset_bytes, length_bytes, crc32c, etag, confirmed_us "
                          "FROM pieces WHERE migration_id = ? AND disk = ? ORDER BY number"));
  query.Bind(1, id).Bind(2, std::uint64_t{disk});
  return ReadAll(query, [](const sqlite::Statement& row) {
    return PieceRow{.number = row.Uint(0),
                    .offset_bytes = row.Uint(1),
                    .length_bytes = row.Uint(2),
                    .crc32c = static_cast<std::uint32_t>(row.Uint(3)),
                    .etag = row.Text(4),
                    .confirmed = FromMicroseconds(row.Int(5))};
  });
}

Result<void> SqliteStore::PutCursor(std::string_view id, std::uint32_t disk,
                                    const CursorRow& cursor) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement put,
      connection_.Prepare("INSERT OR REPLACE INTO encoder_cursors VALUES (?, ?, ?, ?, ?, ?, ?)"));
  put.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, cursor.number);
  put.Bind(4, cursor.guest_offset_bytes).Bind(5, cursor.output_offset_bytes);
  put.Bind(6, std::uint64_t{cursor.crc32c}).Bind(7, cursor.state);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement forget,
      connection_.Prepare("DELETE FROM pieces WHERE migration_id = ? AND disk = ? AND number = ? "
                          "AND crc32c <> ?"));
  forget.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, cursor.number);
  forget.Bind(4, std::uint64_t{cursor.crc32c});
  return connection_.Transaction([&]() -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(put.Run());
    return forget.Run();
  });
}

Result<std::vector<CursorRow>> SqliteStore::Cursors(std::string_view id, std::uint32_t disk) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT number, guest_offset_bytes, output_offset_bytes, crc32c, state "
                          "FROM encoder_cursors WHERE migration_id = ? AND disk = ? "
                          "ORDER BY number"));
  query.Bind(1, id).Bind(2, std::uint64_t{disk});
  return ReadAll(query, [](const sqlite::Statement& row) {
    return CursorRow{.number = row.Uint(0),
                     .guest_offset_bytes = row.Uint(1),
                     .output_offset_bytes = row.Uint(2),
                     .crc32c = static_cast<std::uint32_t>(row.Uint(3)),
                     .state = row.Blob(4)};
  });
}

Result<void> SqliteStore::DropCursors(std::string_view id, std::uint32_t disk,
                                      std::uint64_t first_number) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement remove,
      connection_.Prepare(
          "DELETE FROM encoder_cursors WHERE migration_id = ? AND disk = ? AND number >= ?"));
  return remove.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, first_number).Run();
}

Result<void> SqliteStore::DropPieces(std::string_view id, std::uint32_t disk,
                                     std::uint64_t first_number) {
  MutexLock lock(mutex_);
  return connection_.Transaction([&]() -> Result<void> {
    for (const char* text :
         {"DELETE FROM pieces WHERE migration_id = ? AND disk = ? AND number >= ?",
          "DELETE FROM encoder_cursors WHERE migration_id = ? AND disk = ? AND number >= ?"}) {
      VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement remove, connection_.Prepare(text));
      remove.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, first_number);
      VMFERRY_RETURN_IF_ERROR(remove.Run());
    }
    return {};
  });
}

Result<void> SqliteStore::PutLeafBlob(std::string_view id, std::uint32_t disk,
                                      const LeafBlobRow& row, std::span<const std::byte> leaves) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement put,
      connection_.Prepare("INSERT OR REPLACE INTO leaf_blobs VALUES (?, ?, ?, ?, ?, ?, ?)"));
  put.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, row.index).Bind(4, row.data_blocks);
  return put.Bind(5, row.zero_blocks).Bind(6, row.hole_blocks).Bind(7, leaves).Run();
}

Result<std::vector<LeafBlobRow>> SqliteStore::LeafBlobs(std::string_view id,
                                                        std::uint32_t disk) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare(
          "SELECT blob_index, data_blocks, zero_blocks, hole_blocks FROM leaf_blobs "
          "WHERE migration_id = ? AND disk = ? ORDER BY blob_index"));
  query.Bind(1, id).Bind(2, std::uint64_t{disk});
  return ReadAll(query, [](const sqlite::Statement& row) {
    return LeafBlobRow{.index = row.Uint(0),
                       .data_blocks = row.Uint(1),
                       .zero_blocks = row.Uint(2),
                       .hole_blocks = row.Uint(3)};
  });
}

Result<std::vector<std::byte>> SqliteStore::Leaves(std::string_view id, std::uint32_t disk,
                                                   std::uint64_t index) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement query,
                           connection_.Prepare("SELECT leaves FROM leaf_blobs WHERE migration_id = "
                                               "? AND disk = ? AND blob_index = ?"));
  query.Bind(1, id).Bind(2, std::uint64_t{disk}).Bind(3, index);
  VMFERRY_ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::vector<std::byte>();
  return query.Blob(0);
}

Result<void> SqliteStore::PutLedger(const LedgerRow& row) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement put,
      connection_.Prepare("INSERT INTO ledger (migration_id, kind, resource, state, updated_us) "
                          "VALUES (?, ?, ?, ?, ?) ON CONFLICT (migration_id, kind, resource) DO "
                          "UPDATE SET state = excluded.state, updated_us = excluded.updated_us"));
  put.Bind(1, row.migration_id).Bind(2, row.kind).Bind(3, row.resource).Bind(4, row.state);
  return put.Bind(5, ToMicroseconds(row.updated)).Run();
}

Result<std::vector<LedgerRow>> SqliteStore::Ledger(std::string_view id) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT migration_id, kind, resource, state, updated_us FROM ledger "
                          "WHERE migration_id = ? ORDER BY entry"));
  query.Bind(1, id);
  return ReadAll(query, ReadLedger);
}

Result<std::vector<LedgerRow>> SqliteStore::LedgerOf(std::string_view kind,
                                                     std::string_view resource) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT migration_id, kind, resource, state, updated_us FROM ledger "
                          "WHERE kind = ? AND resource = ? ORDER BY entry"));
  query.Bind(1, kind).Bind(2, resource);
  return ReadAll(query, ReadLedger);
}

Result<void> SqliteStore::PutControl(std::string_view id, std::string_view command) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement put,
                           connection_.Prepare("INSERT OR REPLACE INTO control VALUES (?, ?)"));
  return put.Bind(1, id).Bind(2, command).Run();
}

Result<std::optional<std::string>> SqliteStore::Control(std::string_view id) const {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(
      sqlite::Statement query,
      connection_.Prepare("SELECT command FROM control WHERE migration_id = ?"));
  query.Bind(1, id);
  VMFERRY_ASSIGN_OR_RETURN(const bool found, query.Step());
  if (!found) return std::optional<std::string>();
  return std::optional<std::string>(query.Text(0));
}

Result<void> SqliteStore::ClearControl(std::string_view id) {
  MutexLock lock(mutex_);
  VMFERRY_ASSIGN_OR_RETURN(sqlite::Statement remove,
                           connection_.Prepare("DELETE FROM control WHERE migration_id = ?"));
  return remove.Bind(1, id).Run();
}

}  // namespace vmferry::store
