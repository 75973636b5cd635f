// SPDX-License-Identifier: Apache-2.0
#include "region/s3/records.h"

#include <fmt/format.h>

#include "text/json.h"

namespace vmferry::region::s3 {
namespace {

constexpr const char* kMigrations[] = {
    "CREATE TABLE s3_buckets (name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE s3_objects (bucket TEXT NOT NULL REFERENCES s3_buckets (name),"
    " key TEXT NOT NULL, blob_id TEXT NOT NULL, size_bytes INTEGER NOT NULL, etag TEXT NOT NULL,"
    " modified_ms INTEGER NOT NULL, checksum_algorithm TEXT NOT NULL, checksum TEXT NOT NULL,"
    " checksum_type TEXT NOT NULL, headers TEXT NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;"
    "CREATE TABLE s3_uploads (id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES s3_buckets"
    " (name), key TEXT NOT NULL, created_ms INTEGER NOT NULL, checksum_algorithm TEXT NOT NULL,"
    " checksum_type TEXT NOT NULL, headers TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX s3_uploads_by_key ON s3_uploads (bucket, key, id);"
    "CREATE TABLE s3_parts (upload_id TEXT NOT NULL REFERENCES s3_uploads (id),"
    " number INTEGER NOT NULL, blob_id TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
    " etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, checksum_algorithm TEXT NOT NULL,"
    " checksum TEXT NOT NULL, checksum_type TEXT NOT NULL, PRIMARY KEY (upload_id, number))"
    " WITHOUT ROWID;",
    "ALTER TABLE s3_objects ADD COLUMN tags TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE s3_uploads ADD COLUMN tags TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE s3_parts ADD COLUMN crc64nvme TEXT NOT NULL DEFAULT '';"
    // By blob and not by key: an object and its parts are replaced together.
    "CREATE TABLE s3_object_parts (blob_id TEXT NOT NULL, number INTEGER NOT NULL,"
    " offset_bytes INTEGER NOT NULL, size_bytes INTEGER NOT NULL, checksum_algorithm TEXT NOT NULL,"
    " checksum TEXT NOT NULL, PRIMARY KEY (blob_id, number)) WITHOUT ROWID;"
    "CREATE TABLE s3_bucket_settings (bucket TEXT NOT NULL REFERENCES s3_buckets (name),"
    " kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (bucket, kind)) WITHOUT ROWID;",
};

constexpr std::string_view kObjectColumns =
    "bucket, key, blob_id, size_bytes, etag, modified_ms, checksum_algorithm, checksum, "
    "checksum_type, headers, tags";
constexpr std::string_view kUploadColumns =
    "id, bucket, key, created_ms, checksum_algorithm, checksum_type, headers, tags";
constexpr std::string_view kPartColumns =
    "number, blob_id, size_bytes, etag, modified_ms, checksum_algorithm, checksum, checksum_type, "
    "crc64nvme";

std::int64_t Milliseconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}
WallTime TimeOf(std::int64_t milliseconds) {
  return WallTime(std::chrono::milliseconds(milliseconds));
}

std::string HeadersText(const std::vector<NameValue>& headers) {
  if (headers.empty()) return {};
  text::Json list = text::Json::MakeArray();
  for (const auto& [name, value] : headers) {
    text::Json pair = text::Json::MakeArray();
    pair.Append(name).Append(value);
    list.Append(std::move(pair));
  }
  return list.Dump();
}

std::vector<NameValue> HeadersOf(const std::string& text) {
  std::vector<NameValue> headers;
  if (text.empty()) return headers;
  const auto list = text::Json::Parse(text);
  if (!list) return headers;
  for (const text::Json& pair : list->Items()) {
    if (pair.Items().size() != 2) continue;
    headers.emplace_back(pair.Items()[0].AsString(), pair.Items()[1].AsString());
  }
  return headers;
}

ObjectRecord ObjectOf(const SqlRow& row) {
  ObjectRecord object;
  object.bucket = row.Text(0);
  object.key = row.Text(1);
  object.blob_id = row.Text(2);
  object.size_bytes = row.Uint(3);
  object.etag = row.Text(4);
  object.modified = TimeOf(row.Int(5));
  object.checksum = {row.Text(6), row.Text(7), row.Text(8)};
  object.headers = HeadersOf(row.Text(9));
  object.tags = HeadersOf(row.Text(10));
  return object;
}

UploadRecord UploadOf(const SqlRow& row) {
  UploadRecord upload;
  upload.id = row.Text(0);
  upload.bucket = row.Text(1);
  upload.key = row.Text(2);
  upload.created = TimeOf(row.Int(3));
  upload.checksum_algorithm = row.Text(4);
  upload.checksum_type = row.Text(5);
  upload.headers = HeadersOf(row.Text(6));
  upload.tags = HeadersOf(row.Text(7));
  return upload;
}

PartRecord PartOf(const SqlRow& row) {
  PartRecord part;
  part.number = row.Uint(0);
  part.blob_id = row.Text(1);
  part.size_bytes = row.Uint(2);
  part.etag = row.Text(3);
  part.modified = TimeOf(row.Int(4));
  part.checksum = {row.Text(5), row.Text(6), row.Text(7)};
  part.crc64nvme = row.Text(8);
  return part;
}

/// The first text after all that begin with `prefix`: nothing when there is none.
std::optional<std::string> AfterPrefix(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (end.empty()) return std::nullopt;
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

Result<std::string> SingleText(Transaction& transaction, std::string_view sql,
                               std::vector<SqlValue> values) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows,
                           transaction.Query(sql, std::move(values)));
  return rows.empty() ? std::string() : rows.front().Text(0);
}

Result<void> ForgetObjectParts(Transaction& transaction, const std::string& blob_id) {
  if (blob_id.empty()) return {};
  VMFERRY_RETURN_IF_ERROR(
      transaction.Execute("DELETE FROM s3_object_parts WHERE blob_id = ?", {blob_id}));
  return {};
}

}  // namespace

Result<std::unique_ptr<Records>> Records::Open(Database& database) {
  VMFERRY_RETURN_IF_ERROR(database.Migrate("s3", kMigrations));
  return std::unique_ptr<Records>(new Records(database));
}

Result<bool> Records::AddBucket(const BucketRecord& bucket) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<bool> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t added,
        transaction.Execute("INSERT INTO s3_buckets VALUES (?, ?) ON CONFLICT DO NOTHING",
                            {bucket.name, Milliseconds(bucket.created)}));
    return added > 0;
  });
}

Result<std::optional<BucketRecord>> Records::FindBucket(std::string_view name) {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::optional<BucketRecord>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query("SELECT name, created_ms FROM s3_buckets WHERE name = ?", {name}));
        if (rows.empty()) return std::optional<BucketRecord>();
        return std::optional<BucketRecord>({rows[0].Text(0), TimeOf(rows[0].Int(1))});
      });
}

Result<std::vector<BucketRecord>> Records::ListBuckets(std::string_view prefix,
                                                       std::string_view after,
                                                       std::uint64_t limit) {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<BucketRecord>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query("SELECT name, created_ms FROM s3_buckets WHERE name > ?1 AND"
                              " substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3",
                              {after, prefix, limit}));
        std::vector<BucketRecord> buckets;
        for (const SqlRow& row : rows) buckets.push_back({row.Text(0), TimeOf(row.Int(1))});
        return buckets;
      });
}

Result<Records::Removal> Records::RemoveBucket(std::string_view name) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<Removal> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<SqlRow> used,
        transaction.Query("SELECT 1 FROM s3_objects WHERE bucket = ?1 UNION ALL "
                          "SELECT 1 FROM s3_uploads WHERE bucket = ?1 LIMIT 1",
                          {name}));
    if (!used.empty()) return Removal::kNotEmpty;
    VMFERRY_RETURN_IF_ERROR(
        transaction.Execute("DELETE FROM s3_bucket_settings WHERE bucket = ?", {name}));
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t removed,
                             transaction.Execute("DELETE FROM s3_buckets WHERE name = ?", {name}));
    return removed > 0 ? Removal::kDone : Removal::kAbsent;
  });
}

Result<std::optional<ObjectRecord>> Records::FindObject(Transaction& transaction,
                                                        std::string_view bucket,
                                                        std::string_view key) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      transaction.Query(
          fmt::format("SELECT {} FROM s3_objects WHERE bucket = ? AND key = ?", kObjectColumns),
          {bucket, key}));
  if (rows.empty()) return std::optional<ObjectRecord>();
  return std::optional<ObjectRecord>(ObjectOf(rows[0]));
}

Result<std::optional<ObjectRecord>> Records::FindObject(std::string_view bucket,
                                                        std::string_view key) {
  return database_.WithTransaction(
      [&](Transaction& transaction) { return FindObject(transaction, bucket, key); });
}

Result<std::string> Records::PutObject(Transaction& transaction, const ObjectRecord& object) {
  VMFERRY_ASSIGN_OR_RETURN(
      std::string before,
      SingleText(transaction, "SELECT blob_id FROM s3_objects WHERE bucket = ? AND key = ?",
                 {object.bucket, object.key}));
  VMFERRY_RETURN_IF_ERROR(ForgetObjectParts(transaction, before));
  VMFERRY_RETURN_IF_ERROR(transaction.Execute(
      "INSERT OR REPLACE INTO s3_objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      {object.bucket, object.key, object.blob_id, object.size_bytes, object.etag,
       Milliseconds(object.modified), object.checksum.algorithm, object.checksum.value,
       object.checksum.type, HeadersText(object.headers), HeadersText(object.tags)}));
  return before;
}

Result<std::string> Records::RemoveObject(Transaction& transaction, std::string_view bucket,
                                          std::string_view key) {
  VMFERRY_ASSIGN_OR_RETURN(
      std::string blob,
      SingleText(transaction, "SELECT blob_id FROM s3_objects WHERE bucket = ? AND key = ?",
                 {bucket, key}));
  VMFERRY_RETURN_IF_ERROR(ForgetObjectParts(transaction, blob));
  VMFERRY_RETURN_IF_ERROR(
      transaction.Execute("DELETE FROM s3_objects WHERE bucket = ? AND key = ?", {bucket, key}));
  return blob;
}

Result<std::vector<ObjectRecord>> Records::ListObjects(std::string_view bucket,
                                                       std::string_view prefix,
                                                       std::string_view from, bool after,
                                                       std::uint64_t limit) {
  const std::optional<std::string> end = AfterPrefix(prefix);
  if (from < prefix) {
    from = prefix;
    after = false;
  }
  std::string sql = fmt::format("SELECT {} FROM s3_objects WHERE bucket = ?1 AND key {} ?2",
                                kObjectColumns, after ? ">" : ">=");
  std::vector<SqlValue> values = {bucket, from, limit};
  if (end) {
    sql += " AND key < ?4";
    values.emplace_back(*end);
  }
  sql += " ORDER BY key LIMIT ?3";
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<ObjectRecord>> {
        VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows, transaction.Query(sql, values));
        std::vector<ObjectRecord> objects;
        objects.reserve(rows.size());
        for (const SqlRow& row : rows) objects.push_back(ObjectOf(row));
        return objects;
      });
}

Result<void> Records::AddUpload(const UploadRecord& upload) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(
        transaction.Execute("INSERT INTO s3_uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                            {upload.id, upload.bucket, upload.key, Milliseconds(upload.created),
                             upload.checksum_algorithm, upload.checksum_type,
                             HeadersText(upload.headers), HeadersText(upload.tags)}));
    return {};
  });
}

Result<std::optional<UploadRecord>> Records::FindUpload(Transaction& transaction,
                                                        std::string_view id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      transaction.Query(fmt::format("SELECT {} FROM s3_uploads WHERE id = ?", kUploadColumns),
                        {id}));
  if (rows.empty()) return std::optional<UploadRecord>();
  return std::optional<UploadRecord>(UploadOf(rows[0]));
}

Result<std::optional<UploadRecord>> Records::FindUpload(std::string_view id) {
  return database_.WithTransaction(
      [&](Transaction& transaction) { return FindUpload(transaction, id); });
}

Result<std::vector<UploadRecord>> Records::ListUploads(std::string_view bucket,
                                                       std::string_view prefix,
                                                       std::string_view key_marker,
                                                       std::string_view id_marker,
                                                       std::uint64_t limit) {
  const std::optional<std::string> end = AfterPrefix(prefix);
  std::string sql = fmt::format(
      "SELECT {} FROM s3_uploads WHERE bucket = ?1 AND key >= ?2"
      " AND (?3 = '' OR key > ?3 OR (key = ?3 AND ?4 <> '' AND id > ?4))",
      kUploadColumns);
  std::vector<SqlValue> values = {bucket, prefix, key_marker, id_marker, limit};
  if (end) {
    sql += " AND key < ?6";
    values.emplace_back(*end);
  }
  sql += " ORDER BY key, id LIMIT ?5";
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<UploadRecord>> {
        VMFERRY_ASSIGN_OR_RETURN(const std::vector<SqlRow> rows, transaction.Query(sql, values));
        std::vector<UploadRecord> uploads;
        for (const SqlRow& row : rows) uploads.push_back(UploadOf(row));
        return uploads;
      });
}

Result<std::string> Records::PutPart(Transaction& transaction, std::string_view upload_id,
                                     const PartRecord& part) {
  VMFERRY_ASSIGN_OR_RETURN(
      std::string before,
      SingleText(transaction, "SELECT blob_id FROM s3_parts WHERE upload_id = ? AND number = ?",
                 {upload_id, part.number}));
  VMFERRY_RETURN_IF_ERROR(
      transaction.Execute("INSERT OR REPLACE INTO s3_parts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                          {upload_id, part.number, part.blob_id, part.size_bytes, part.etag,
                           Milliseconds(part.modified), part.checksum.algorithm,
                           part.checksum.value, part.checksum.type, part.crc64nvme}));
  return before;
}

Result<std::vector<PartRecord>> Records::ListParts(std::string_view upload_id, std::uint64_t after,
                                                   std::uint64_t limit) {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<PartRecord>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query(fmt::format("SELECT {} FROM s3_parts WHERE upload_id = ? AND number "
                                          "> ? ORDER BY number LIMIT ?",
                                          kPartColumns),
                              {upload_id, after, limit}));
        std::vector<PartRecord> parts;
        for (const SqlRow& row : rows) parts.push_back(PartOf(row));
        return parts;
      });
}

Result<std::vector<std::string>> Records::RemoveUpload(Transaction& transaction,
                                                       std::string_view upload_id) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> rows,
      transaction.Query("SELECT blob_id FROM s3_parts WHERE upload_id = ?", {upload_id}));
  VMFERRY_RETURN_IF_ERROR(
      transaction.Execute("DELETE FROM s3_parts WHERE upload_id = ?", {upload_id}));
  VMFERRY_RETURN_IF_ERROR(transaction.Execute("DELETE FROM s3_uploads WHERE id = ?", {upload_id}));
  std::vector<std::string> blobs;
  for (const SqlRow& row : rows) blobs.push_back(row.Text(0));
  return blobs;
}

Result<bool> Records::SetTags(std::string_view bucket, std::string_view key,
                              const std::vector<NameValue>& tags) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<bool> {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::int64_t changed,
        transaction.Execute("UPDATE s3_objects SET tags = ? WHERE bucket = ? AND key = ?",
                            {HeadersText(tags), bucket, key}));
    return changed > 0;
  });
}

Result<void> Records::AddObjectParts(Transaction& transaction, std::string_view blob_id,
                                     const std::vector<PartRecord>& parts) {
  std::uint64_t offset_bytes = 0;
  for (const PartRecord& part : parts) {
    VMFERRY_RETURN_IF_ERROR(
        transaction.Execute("INSERT INTO s3_object_parts VALUES (?, ?, ?, ?, ?, ?)",
                            {blob_id, part.number, offset_bytes, part.size_bytes,
                             part.checksum.algorithm, part.checksum.value}));
    offset_bytes += part.size_bytes;
  }
  return {};
}

Result<std::optional<ObjectPart>> Records::FindObjectPart(std::string_view blob_id,
                                                          std::uint64_t number) {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::optional<ObjectPart>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query("SELECT offset_bytes, size_bytes, checksum_algorithm, checksum,"
                              " (SELECT COUNT(*) FROM s3_object_parts WHERE blob_id = ?1)"
                              " FROM s3_object_parts WHERE blob_id = ?1 AND number = ?2",
                              {blob_id, number}));
        if (rows.empty()) return std::optional<ObjectPart>();
        ObjectPart part;
        part.offset_bytes = rows[0].Uint(0);
        part.size_bytes = rows[0].Uint(1);
        part.checksum = {rows[0].Text(2), rows[0].Text(3), ""};
        part.count = rows[0].Uint(4);
        return std::optional<ObjectPart>(std::move(part));
      });
}

Result<std::optional<std::string>> Records::FindSetting(std::string_view bucket,
                                                        std::string_view kind) {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::optional<std::string>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query("SELECT value FROM s3_bucket_settings WHERE bucket = ? AND kind = ?",
                              {bucket, kind}));
        if (rows.empty()) return std::optional<std::string>();
        return std::optional<std::string>(rows[0].Text(0));
      });
}

Result<void> Records::PutSetting(std::string_view bucket, std::string_view kind,
                                 const std::optional<std::string>& value) {
  return database_.WithTransaction([&](Transaction& transaction) -> Result<void> {
    VMFERRY_RETURN_IF_ERROR(transaction.Execute(
        "DELETE FROM s3_bucket_settings WHERE bucket = ? AND kind = ?", {bucket, kind}));
    if (!value) return {};
    VMFERRY_RETURN_IF_ERROR(transaction.Execute("INSERT INTO s3_bucket_settings VALUES (?, ?, ?)",
                                                {bucket, kind, *value}));
    return {};
  });
}

Result<std::unordered_set<std::string>> Records::Blobs() {
  return database_.WithTransaction(
      [&](Transaction& transaction) -> Result<std::unordered_set<std::string>> {
        VMFERRY_ASSIGN_OR_RETURN(
            const std::vector<SqlRow> rows,
            transaction.Query("SELECT blob_id FROM s3_objects UNION SELECT blob_id FROM s3_parts"));
        std::unordered_set<std::string> blobs;
        for (const SqlRow& row : rows) blobs.insert(row.Text(0));
        return blobs;
      });
}

}  // namespace vmferry::region::s3
