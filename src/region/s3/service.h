// SPDX-License-Identifier: Apache-2.0
//
// S3Service: buckets, objects and multipart uploads of one account.
//
// Not modelled, and refused by name: versioning, policies, ACLs, KMS keys, object lock...
// docs/region.md has the list.
//
// Thread safety: as Service asks.
// Source: Amazon S3 API reference, 2006-03-01.

#pragma once

#include <memory>

#include "region/blobs/blob_store.h"
#include "region/core/context.h"
#include "region/core/service.h"
#include "region/s3/address.h"
#include "region/s3/fault.h"
#include "region/s3/records.h"

namespace vmferry::region::s3 {

class S3Service final : public Service {
 public:
  /// Makes tables and folders, and sweeps what a crash left. The context outlives the service.
  static Result<std::unique_ptr<S3Service>> Open(const Context& context);

  std::string_view Name() const override { return "s3"; }
  std::vector<std::string> Operations() const override;
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  S3Service(const Context& context, std::unique_ptr<Records> records,
            std::unique_ptr<BlobStore> blobs)
      : context_(context), records_(std::move(records)), blobs_(std::move(blobs)) {}

  using Handler = Outcome (S3Service::*)(Call&, const Address&);
  static std::span<const std::pair<std::string_view, Handler>> Handlers();
  static Handler HandlerOf(std::string_view operation);

  // buckets.cc
  Outcome CreateBucket(Call& call, const Address& address);
  Outcome HeadBucket(Call& call, const Address& address);
  Outcome DeleteBucket(Call& call, const Address& address);
  Outcome ListBuckets(Call& call, const Address& address);
  Outcome GetBucketLocation(Call& call, const Address& address);
  // bucket_settings.cc
  Outcome GetBucketSetting(Call& call, const Address& address);
  Outcome PutBucketSetting(Call& call, const Address& address);
  Outcome DeleteBucketSetting(Call& call, const Address& address);
  Outcome GetNeverSet(Call& call, const Address& address);
  Outcome GetAcl(Call& call, const Address& address);
  Outcome PutAcl(Call& call, const Address& address);
  // objects.cc
  Outcome PutObject(Call& call, const Address& address);
  Outcome GetObject(Call& call, const Address& address);
  Outcome DeleteObject(Call& call, const Address& address);
  Outcome DeleteObjects(Call& call, const Address& address);
  Outcome GetObjectTagging(Call& call, const Address& address);
  Outcome PutObjectTagging(Call& call, const Address& address);
  Outcome DeleteObjectTagging(Call& call, const Address& address);
  // copy.cc
  Outcome CopyObject(Call& call, const Address& address);
  Outcome UploadPartCopy(Call& call, const Address& address);
  // listing.cc
  Outcome ListObjects(Call& call, const Address& address);
  Outcome ListObjectVersions(Call& call, const Address& address);
  // multipart.cc
  Outcome CreateMultipartUpload(Call& call, const Address& address);
  Outcome UploadPart(Call& call, const Address& address);
  Outcome CompleteMultipartUpload(Call& call, const Address& address);
  Outcome AbortMultipartUpload(Call& call, const Address& address);
  Outcome ListParts(Call& call, const Address& address);
  Outcome ListMultipartUploads(Call& call, const Address& address);

  /// Checks that the bucket exists and is ours.
  MaybeFault CheckBucket(const Call& call, const Address& address);
  /// Headers that ask for what is not modelled.
  MaybeFault CheckHeaders(const Call& call) const;
  /// The object that x-amz-copy-source names, its conditions checked.
  MaybeFault FindSource(const Call& call, ObjectRecord& out);
  MaybeFault DigestCopy(const std::string* algorithm, const ObjectRecord& source,
                        ObjectRecord& object);
  /// Commits an object whose blob is written: checks If-Match and If-None-Match, replaces what was
  /// there, and with `parts` remembers them. The blob is discarded on failure.
  MaybeFault StoreObject(const Call& call, const ObjectRecord& object,
                         const std::vector<PartRecord>* parts);
  /// Commits a part whose blob is written. The blob is discarded on failure.
  MaybeFault StorePart(const Address& address, const std::string& upload_id,
                       const PartRecord& part);
  /// Sets the checksum of an object that is put together from parts, and checks it against what the
  /// request says.
  MaybeFault SetWholeChecksum(const Call& call, const UploadRecord& upload,
                              const std::vector<PartRecord>& parts, ObjectRecord& object);
  /// Removes an object that may be absent, if its ETag is `if_match` where one is given.
  MaybeFault RemoveObject(const std::string& bucket, const std::string& key,
                          const std::string* if_match);
  /// Where the part of a GET with partNumber lies; adds its headers.
  MaybeFault FindPart(const Call& call, const ObjectRecord& object, Answer& answer,
                      std::uint64_t& offset_bytes, std::uint64_t& length_bytes);

  const Context& context_;
  const std::unique_ptr<Records> records_;
  const std::unique_ptr<BlobStore> blobs_;
};

/// Reads partNumber of an upload, 1 to 10,000.
MaybeFault ReadPartNumber(const Call& call, std::uint64_t& number);

/// Headers of a new object that are kept with it.
std::vector<NameValue> KeptHeaders(const Call& call);

/// RFC 3339 with milliseconds, as S3 writes times in XML.
std::string XmlTime(WallTime time);

inline constexpr std::string_view kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";

}  // namespace vmferry::region::s3
