// SPDX-License-Identifier: Apache-2.0
#include "region/s3/address.h"

#include <algorithm>
#include <array>

#include "region/core/host_name.h"

namespace vmferry::region::s3 {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || IsDigit(c); }

struct SubResource {
  std::string_view parameter;
  std::string_view get;
  std::string_view put;
  std::string_view remove;
  std::string_view post;
};

constexpr std::array<SubResource, 27> kOfBucket = {{
    {"accelerate", "GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", "", ""},
    {"acl", "GetBucketAcl", "PutBucketAcl", "", ""},
    {"analytics", "GetBucketAnalyticsConfiguration", "PutBucketAnalyticsConfiguration",
     "DeleteBucketAnalyticsConfiguration", ""},
    {"cors", "GetBucketCors", "PutBucketCors", "DeleteBucketCors", ""},
    {"delete", "", "", "", "DeleteObjects"},
    {"encryption", "GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption", ""},
    {"intelligent-tiering", "GetBucketIntelligentTieringConfiguration",
     "PutBucketIntelligentTieringConfiguration", "DeleteBucketIntelligentTieringConfiguration", ""},
    {"inventory", "GetBucketInventoryConfiguration", "PutBucketInventoryConfiguration",
     "DeleteBucketInventoryConfiguration", ""},
    {"lifecycle", "GetBucketLifecycleConfiguration", "PutBucketLifecycleConfiguration",
     "DeleteBucketLifecycle", ""},
    {"location", "GetBucketLocation", "", "", ""},
    {"logging", "GetBucketLogging", "PutBucketLogging", "", ""},
    {"metadataTable", "GetBucketMetadataTableConfiguration", "",
     "DeleteBucketMetadataTableConfiguration", "CreateBucketMetadataTableConfiguration"},
    {"metrics", "GetBucketMetricsConfiguration", "PutBucketMetricsConfiguration",
     "DeleteBucketMetricsConfiguration", ""},
    {"notification", "GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", "",
     ""},
    {"object-lock", "GetObjectLockConfiguration", "PutObjectLockConfiguration", "", ""},
    {"ownershipControls", "GetBucketOwnershipControls", "PutBucketOwnershipControls",
     "DeleteBucketOwnershipControls", ""},
    {"policy", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy", ""},
    {"policyStatus", "GetBucketPolicyStatus", "", "", ""},
    {"publicAccessBlock", "GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock",
     ""},
    {"replication", "GetBucketReplication", "PutBucketReplication", "DeleteBucketReplication", ""},
    {"requestPayment", "GetBucketRequestPayment", "PutBucketRequestPayment", "", ""},
    {"session", "CreateSession", "", "", ""},
    {"tagging", "GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging", ""},
    {"uploads", "ListMultipartUploads", "", "", ""},
    {"versioning", "GetBucketVersioning", "PutBucketVersioning", "", ""},
    {"versions", "ListObjectVersions", "", "", ""},
    {"website", "GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite", ""},
}};

constexpr std::array<SubResource, 10> kOfObject = {{
    {"acl", "GetObjectAcl", "PutObjectAcl", "", ""},
    {"attributes", "GetObjectAttributes", "", "", ""},
    {"legal-hold", "GetObjectLegalHold", "PutObjectLegalHold", "", ""},
    {"restore", "", "", "", "RestoreObject"},
    {"retention", "GetObjectRetention", "PutObjectRetention", "", ""},
    {"select", "", "", "", "SelectObjectContent"},
    {"tagging", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging", ""},
    {"torrent", "GetObjectTorrent", "", "", ""},
    {"uploadId", "ListParts", "UploadPart", "AbortMultipartUpload", "CompleteMultipartUpload"},
    {"uploads", "", "", "", "CreateMultipartUpload"},
}};

std::string_view OfMethod(const SubResource& resource, std::string_view method) {
  if (method == "GET") return resource.get;
  if (method == "PUT") return resource.put;
  if (method == "DELETE") return resource.remove;
  if (method == "POST") return resource.post;
  return {};
}

template <std::size_t kCount>
const SubResource* FindIn(const std::array<SubResource, kCount>& list, const Call& call) {
  for (const SubResource& resource : list) {
    if (call.FindQuery(resource.parameter) != nullptr) return &resource;
  }
  return nullptr;
}

std::string BucketOperation(const Call& call) {
  if (const SubResource* resource = FindIn(kOfBucket, call)) {
    return std::string(OfMethod(*resource, call.method));
  }
  if (call.method == "GET") {
    const std::string* type = call.FindQuery("list-type");
    return type != nullptr && *type == "2" ? "ListObjectsV2" : "ListObjects";
  }
  if (call.method == "PUT") return "CreateBucket";
  if (call.method == "HEAD") return "HeadBucket";
  if (call.method == "DELETE") return "DeleteBucket";
  if (call.method == "POST") return "PostObject";
  return {};
}

std::string ObjectOperation(const Call& call) {
  if (const SubResource* resource = FindIn(kOfObject, call); resource && call.method != "HEAD") {
    const std::string name(OfMethod(*resource, call.method));
    const bool copy = call.FindHeader("x-amz-copy-source") != nullptr;
    return name == "UploadPart" && copy ? "UploadPartCopy" : name;
  }
  if (call.method == "GET") return "GetObject";
  if (call.method == "HEAD") return "HeadObject";
  if (call.method == "DELETE") return "DeleteObject";
  if (call.method == "PUT") {
    return call.FindHeader("x-amz-copy-source") != nullptr ? "CopyObject" : "PutObject";
  }
  return {};
}

}  // namespace

Address AddressOf(const Call& call) {
  std::string_view path = call.path;
  if (path.starts_with('/')) path.remove_prefix(1);
  HostName host = ParseHost(call.host);
  if (!host.bucket.empty()) return {std::move(host.bucket), std::string(path)};
  const std::size_t slash = std::min(path.find('/'), path.size());
  return {std::string(path.substr(0, slash)),
          std::string(path.substr(std::min(slash + 1, path.size())))};
}

std::string OperationName(const Call& call, const Address& address) {
  if (call.method == "OPTIONS") return "OptionsRequest";
  if (address.bucket.empty()) return call.method == "GET" ? "ListBuckets" : "";
  return address.key.empty() ? BucketOperation(call) : ObjectOperation(call);
}

// Amazon S3 User Guide, "General purpose bucket naming rules".
bool IsValidBucketName(std::string_view name) {
  if (name.size() < 3 || name.size() > 63) return false;
  if (!IsLowerOrDigit(name.front()) || !IsLowerOrDigit(name.back())) return false;
  const auto allowed = [](char c) { return IsLowerOrDigit(c) || c == '-' || c == '.'; };
  if (!std::ranges::all_of(name, allowed) || name.find("..") != name.npos) return false;
  const auto like_address = [](char c) { return IsDigit(c) || c == '.'; };
  if (std::ranges::all_of(name, like_address) && std::ranges::count(name, '.') == 3) return false;
  for (const std::string_view start : {"xn--", "sthree-", "amzn-s3-demo-"}) {
    if (name.starts_with(start)) return false;
  }
  for (const std::string_view end : {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}) {
    if (name.ends_with(end)) return false;
  }
  return true;
}

}  // namespace vmferry::region::s3
