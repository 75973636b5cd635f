// SPDX-License-Identifier: Apache-2.0
//
// Records: buckets, objects and multipart uploads in the database.
//
// Functions without a Transaction run one of their own. Keys order by their bytes, as in S3.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/deadline.h"
#include "region/core/database.h"
#include "region/core/service.h"

namespace vmferry::region::s3 {

struct BucketRecord {
  std::string name;
  WallTime created;
};

/// A checksum as S3 shows it.
struct Checksum {
  std::string algorithm;  ///< "CRC32C"; empty: none
  std::string value;      ///< base64, with "-N" when composite
  std::string type;       ///< "FULL_OBJECT" or "COMPOSITE"
};

struct ObjectRecord {
  std::string bucket;
  std::string key;
  std::string blob_id;
  std::uint64_t size_bytes = 0;
  std::string etag;  ///< without quotes
  WallTime modified;
  Checksum checksum;
  /// Content-Type and what else is sent back as it was stored: Cache-Control, x-amz-meta-*...
  std::vector<NameValue> headers;
  std::vector<NameValue> tags;
};

struct UploadRecord {
  std::string id;
  std::string bucket;
  std::string key;
  WallTime created;
  std::string checksum_algorithm;  ///< as asked for at its creation; empty: none
  std::string checksum_type;
  std::vector<NameValue> headers;
  std::vector<NameValue> tags;
};

struct PartRecord {
  std::uint64_t number = 0;
  std::string blob_id;
  std::uint64_t size_bytes = 0;
  std::string etag;
  WallTime modified;
  Checksum checksum;
  /// Base64, where it was computed: the whole object's can be had from it.
  std::string crc64nvme;
};

/// One part of a stored object that was uploaded in parts.
struct ObjectPart {
  std::uint64_t count = 0;  ///< of all parts
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  Checksum checksum;  ///< the part's own, when the object's is composite
};

class Records {
 public:
  /// Makes the tables. The database outlives this.
  static Result<std::unique_ptr<Records>> Open(Database& database);

  Database& database() const { return database_; }

  /// False when the bucket was there.
  Result<bool> AddBucket(const BucketRecord& bucket);
  Result<std::optional<BucketRecord>> FindBucket(std::string_view name);
  /// Buckets with the prefix from behind `after`, by name.
  Result<std::vector<BucketRecord>> ListBuckets(std::string_view prefix, std::string_view after,
                                                std::uint64_t limit);
  enum class Removal { kDone, kAbsent, kNotEmpty };
  Result<Removal> RemoveBucket(std::string_view name);

  Result<std::optional<ObjectRecord>> FindObject(std::string_view bucket, std::string_view key);
  static Result<std::optional<ObjectRecord>> FindObject(Transaction& transaction,
                                                        std::string_view bucket,
                                                        std::string_view key);
  /// Adds or replaces; returns the blob that is no longer needed, or "".
  static Result<std::string> PutObject(Transaction& transaction, const ObjectRecord& object);
  /// Returns the blob that is no longer needed, or "" when there was no object.
  static Result<std::string> RemoveObject(Transaction& transaction, std::string_view bucket,
                                          std::string_view key);
  /// False when there is no such object.
  Result<bool> SetTags(std::string_view bucket, std::string_view key,
                       const std::vector<NameValue>& tags);
  /// Remembers of which parts the object of that blob was made.
  static Result<void> AddObjectParts(Transaction& transaction, std::string_view blob_id,
                                     const std::vector<PartRecord>& parts);
  /// Part `number` (from 1) of the object of that blob; nothing when it has none such.
  Result<std::optional<ObjectPart>> FindObjectPart(std::string_view blob_id, std::uint64_t number);
  /// Objects with from <= key (or from < key when `after`) and the prefix, by key.
  Result<std::vector<ObjectRecord>> ListObjects(std::string_view bucket, std::string_view prefix,
                                                std::string_view from, bool after,
                                                std::uint64_t limit);

  Result<void> AddUpload(const UploadRecord& upload);
  static Result<std::optional<UploadRecord>> FindUpload(Transaction& transaction,
                                                        std::string_view id);
  Result<std::optional<UploadRecord>> FindUpload(std::string_view id);
  Result<std::vector<UploadRecord>> ListUploads(std::string_view bucket, std::string_view prefix,
                                                std::string_view key_marker,
                                                std::string_view id_marker, std::uint64_t limit);
  /// Adds or replaces; returns the blob that is no longer needed, or "".
  static Result<std::string> PutPart(Transaction& transaction, std::string_view upload_id,
                                     const PartRecord& part);
  Result<std::vector<PartRecord>> ListParts(std::string_view upload_id, std::uint64_t after,
                                            std::uint64_t limit);
  /// Removes upload and parts; returns the parts' blobs.
  static Result<std::vector<std::string>> RemoveUpload(Transaction& transaction,
                                                       std::string_view upload_id);

  /// A setting of a bucket ("tagging", "lifecycle"...), as it was put; nothing when it is not set.
  Result<std::optional<std::string>> FindSetting(std::string_view bucket, std::string_view kind);
  /// Sets it, or removes it (nothing). Settings go with their bucket.
  Result<void> PutSetting(std::string_view bucket, std::string_view kind,
                          const std::optional<std::string>& value);

  /// Every blob that a record names.
  Result<std::unordered_set<std::string>> Blobs();

 private:
  explicit Records(Database& database) : database_(database) {}
  Database& database_;
};

}  // namespace vmferry::region::s3
