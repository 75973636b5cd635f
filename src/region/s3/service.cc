// SPDX-License-Identifier: Apache-2.0
#include "region/s3/service.h"

#include <fmt/format.h>

#include <array>

#include "base/units.h"
#include "region/s3/checksum.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::size_t kKeyBytesMax = 1024;
constexpr std::size_t kMetadataBytesMax = 2048;  // Amazon S3 User Guide, "Working with metadata"

bool IsUtf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t extra = lead < 0x80                   ? 0
                              : lead >= 0xc2 && lead < 0xe0 ? 1
                              : lead >= 0xe0 && lead < 0xf0 ? 2
                              : lead >= 0xf0 && lead < 0xf5 ? 3
                                                            : 9;
    if (extra > 3 || i + extra >= text.size()) return false;
    for (std::size_t k = 1; k <= extra; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += extra + 1;
  }
  return true;
}

MaybeFault CheckKey(std::string_view key) {
  if (key.size() > kKeyBytesMax) {
    return S3Fault{400,
                   "KeyTooLongError",
                   "Your key is too long",
                   {{"Size", std::to_string(key.size())}, {"MaxSizeAllowed", "1024"}}};
  }
  if (!IsUtf8(key)) return S3Fault{400, "InvalidURI", "Couldn't parse the specified URI.", {}};
  return std::nullopt;
}

}  // namespace

Result<std::unique_ptr<S3Service>> S3Service::Open(const Context& context) {
  VMFERRY_ASSIGN_OR_RETURN(auto records, Records::Open(context.database));
  VMFERRY_ASSIGN_OR_RETURN(auto blobs,
                           BlobStore::Open(context.settings.folder / "objects", context.random));
  VMFERRY_ASSIGN_OR_RETURN(const auto known, records->Blobs());
  if (const std::uint64_t swept = blobs->Sweep(known); swept > 0) {
    context.log.Info("orphaned object files removed", {{"files", swept}});
  }
  return std::unique_ptr<S3Service>(new S3Service(context, std::move(records), std::move(blobs)));
}

std::string S3Service::OperationOf(const Call& call) const {
  return OperationName(call, AddressOf(call));
}

std::span<const std::pair<std::string_view, S3Service::Handler>> S3Service::Handlers() {
  static constexpr std::pair<std::string_view, Handler> kHandlers[] = {
      {"CreateBucket", &S3Service::CreateBucket},
      {"HeadBucket", &S3Service::HeadBucket},
      {"DeleteBucket", &S3Service::DeleteBucket},
      {"ListBuckets", &S3Service::ListBuckets},
      {"GetBucketLocation", &S3Service::GetBucketLocation},
      {"PutObject", &S3Service::PutObject},
      {"GetObject", &S3Service::GetObject},
      {"HeadObject", &S3Service::GetObject},
      {"DeleteObject", &S3Service::DeleteObject},
      {"DeleteObjects", &S3Service::DeleteObjects},
      {"CopyObject", &S3Service::CopyObject},
      {"GetObjectTagging", &S3Service::GetObjectTagging},
      {"PutObjectTagging", &S3Service::PutObjectTagging},
      {"DeleteObjectTagging", &S3Service::DeleteObjectTagging},
      {"ListObjects", &S3Service::ListObjects},
      {"ListObjectsV2", &S3Service::ListObjects},
      {"ListObjectVersions", &S3Service::ListObjectVersions},
      {"CreateMultipartUpload", &S3Service::CreateMultipartUpload},
      {"UploadPart", &S3Service::UploadPart},
      {"UploadPartCopy", &S3Service::UploadPartCopy},
      {"CompleteMultipartUpload", &S3Service::CompleteMultipartUpload},
      {"AbortMultipartUpload", &S3Service::AbortMultipartUpload},
      {"ListParts", &S3Service::ListParts},
      {"ListMultipartUploads", &S3Service::ListMultipartUploads},
      {"GetBucketTagging", &S3Service::GetBucketSetting},
      {"PutBucketTagging", &S3Service::PutBucketSetting},
      {"DeleteBucketTagging", &S3Service::DeleteBucketSetting},
      {"GetBucketLifecycleConfiguration", &S3Service::GetBucketSetting},
      {"PutBucketLifecycleConfiguration", &S3Service::PutBucketSetting},
      {"DeleteBucketLifecycle", &S3Service::DeleteBucketSetting},
      {"GetBucketEncryption", &S3Service::GetBucketSetting},
      {"PutBucketEncryption", &S3Service::PutBucketSetting},
      {"DeleteBucketEncryption", &S3Service::DeleteBucketSetting},
      {"GetBucketOwnershipControls", &S3Service::GetBucketSetting},
      {"PutBucketOwnershipControls", &S3Service::PutBucketSetting},
      {"DeleteBucketOwnershipControls", &S3Service::DeleteBucketSetting},
      {"GetPublicAccessBlock", &S3Service::GetBucketSetting},
      {"PutPublicAccessBlock", &S3Service::PutBucketSetting},
      {"DeletePublicAccessBlock", &S3Service::DeleteBucketSetting},
      {"GetBucketVersioning", &S3Service::GetNeverSet},
      {"GetBucketPolicy", &S3Service::GetNeverSet},
      {"GetBucketPolicyStatus", &S3Service::GetNeverSet},
      {"GetBucketCors", &S3Service::GetNeverSet},
      {"GetBucketWebsite", &S3Service::GetNeverSet},
      {"GetBucketReplication", &S3Service::GetNeverSet},
      {"GetObjectLockConfiguration", &S3Service::GetNeverSet},
      {"GetBucketLogging", &S3Service::GetNeverSet},
      {"GetBucketNotificationConfiguration", &S3Service::GetNeverSet},
      {"GetBucketAccelerateConfiguration", &S3Service::GetNeverSet},
      {"GetBucketRequestPayment", &S3Service::GetNeverSet},
      {"GetBucketAcl", &S3Service::GetAcl},
      {"GetObjectAcl", &S3Service::GetAcl},
      {"PutBucketAcl", &S3Service::PutAcl},
      {"PutObjectAcl", &S3Service::PutAcl},
  };
  return kHandlers;
}

std::vector<std::string> S3Service::Operations() const {
  std::vector<std::string> names;
  for (const auto& [name, handler] : Handlers()) names.emplace_back(name);
  return names;
}

S3Service::Handler S3Service::HandlerOf(std::string_view operation) {
  for (const auto& [name, handler] : Handlers()) {
    if (name == operation) return handler;
  }
  return nullptr;
}

Answer S3Service::Handle(Call& call) {
  const Address address = AddressOf(call);
  Outcome outcome = [&]() -> Outcome {
    if (call.operation.empty()) {
      return S3Fault{
          405,
          "MethodNotAllowed",
          "The specified method is not allowed against this resource.",
          {{"Method", call.method}, {"ResourceType", address.key.empty() ? "BUCKET" : "OBJECT"}}};
    }
    const Handler handler = HandlerOf(call.operation);
    if (handler == nullptr) return NotImplemented(call.operation);
    if (auto fault = CheckKey(address.key)) return *std::move(fault);
    if (auto fault = CheckHeaders(call)) return *std::move(fault);
    if (!address.bucket.empty() && call.operation != "CreateBucket") {
      if (auto fault = CheckBucket(call, address)) return *std::move(fault);
    }
    return (this->*handler)(call, address);
  }();
  Answer answer;
  if (auto* good = std::get_if<Answer>(&outcome)) {
    answer = std::move(*good);
  } else {
    answer = FaultAnswer(std::get<S3Fault>(outcome), call);
  }
  if (!address.bucket.empty()) answer.log_fields.emplace_back("bucket", address.bucket);
  if (!address.key.empty()) answer.log_fields.emplace_back("key", address.key);
  return answer;
}

Answer S3Service::ErrorAnswer(int status, std::string_view code, std::string_view message,
                              const Call& call) const {
  return FaultAnswer({status, std::string(code), std::string(message), call.error_details}, call);
}

MaybeFault S3Service::CheckBucket(const Call& call, const Address& address) {
  const std::string* owner = call.FindHeader("x-amz-expected-bucket-owner");
  if ((owner != nullptr && *owner != context_.settings.account_id) ||
      context_.faults.IsForeignBucket(address.bucket)) {
    return S3Fault{403, "AccessDenied", "Access Denied", {}};
  }
  auto found = records_->FindBucket(address.bucket);
  if (!found) return Internal(found.error());
  if (!found->has_value()) return NoSuchBucket(address.bucket);
  return std::nullopt;
}

MaybeFault S3Service::CheckHeaders(const Call& call) const {
  static constexpr std::string_view kRefused[] = {
      "x-amz-server-side-encryption-aws-kms-key-id",
      "x-amz-server-side-encryption-context",
      "x-amz-server-side-encryption-customer-algorithm",
      "x-amz-server-side-encryption-bucket-key-enabled",
      "x-amz-object-lock-mode",
      "x-amz-object-lock-legal-hold",
      "x-amz-object-lock-retain-until-date",
      "x-amz-website-redirect-location",
      "x-amz-write-offset-bytes",
      "x-amz-mfa",
      "x-amz-copy-source-server-side-encryption-customer-algorithm",
  };
  std::size_t metadata_bytes = 0;
  for (const auto& [name, value] : call.headers) {
    if (!name.starts_with("x-amz-")) continue;
    for (const std::string_view refused : kRefused) {
      if (name == refused) return NotImplemented(name);
    }
    if (name == "x-amz-server-side-encryption" && value != "AES256") {
      return NotImplemented(fmt::format("x-amz-server-side-encryption: {}", value));
    }
    if (name == "x-amz-storage-class" && value != "STANDARD") {
      return NotImplemented(fmt::format("x-amz-storage-class: {}", value));
    }
    const bool acl =
        name == "x-amz-acl" && value != "private" && value != "bucket-owner-full-control";
    if (acl || name.starts_with("x-amz-grant-")) {
      return S3Fault{400, "AccessControlListNotSupported", "The bucket does not allow ACLs", {}};
    }
    if (name.starts_with("x-amz-meta-")) metadata_bytes += name.size() - 11 + value.size();
  }
  if (metadata_bytes > kMetadataBytesMax) {
    return S3Fault{400,
                   "MetadataTooLarge",
                   "Your metadata headers exceed the maximum allowed metadata size",
                   {{"Size", std::to_string(metadata_bytes)}, {"MaxSizeAllowed", "2048"}}};
  }
  const std::string* version = call.FindQuery("versionId");
  if (version != nullptr && *version != "null" && !version->empty()) {
    return InvalidArgument("Invalid version id specified", "versionId", *version);
  }
  return std::nullopt;
}

std::string XmlTime(WallTime time) {
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  std::string text = FormatTime(time);
  text.pop_back();
  return fmt::format("{}.{:03}Z", text, milliseconds % 1000);
}

}  // namespace vmferry::region::s3
