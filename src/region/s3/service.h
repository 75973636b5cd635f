// SPDX-License-Identifier: Apache-2.0
//
// S3Service: buckets, objects and multipart uploads of one account.
//
// Not modelled, and refused by name: versioning, policies, ACLs, tagging, KMS keys, copies...
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
  Outcome GetBucketVersioning(Call& call, const Address& address);
  // objects.cc
  Outcome PutObject(Call& call, const Address& address);
  Outcome GetObject(Call& call, const Address& address);
  Outcome DeleteObject(Call& call, const Address& address);
  Outcome DeleteObjects(Call& call, const Address& address);
  // listing.cc
  Outcome ListObjects(Call& call, const Address& address);
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

  const Context& context_;
  const std::unique_ptr<Records> records_;
  const std::unique_ptr<BlobStore> blobs_;
};

/// Headers of a new object that are kept with it.
std::vector<NameValue> KeptHeaders(const Call& call);

/// RFC 3339 with milliseconds, as S3 writes times in XML.
std::string XmlTime(WallTime time);

inline constexpr std::string_view kNamespace = "http://s3.amazonaws.com/doc/2006-03-01/";

}  // namespace vmferry::region::s3
