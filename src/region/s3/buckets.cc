// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "region/s3/service.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

/// The LocationConstraint of a CreateBucket body; "" when there is none.
MaybeFault ReadLocation(const Call& call, std::string& location) {
  if (call.payload.size_bytes == 0) return std::nullopt;
  if (!call.payload.spool_path.empty()) return MalformedXml();
  const auto document = text::ParseXml(call.payload.memory);
  if (!document || document->name != "CreateBucketConfiguration") return MalformedXml();
  for (const text::XmlElement& child : document->children) {
    if (child.name != "LocationConstraint") {
      return NotImplemented("CreateBucketConfiguration/" + child.name);
    }
  }
  location = document->TextAt("LocationConstraint");
  return std::nullopt;
}

}  // namespace

Outcome S3Service::CreateBucket(Call& call, const Address& address) {
  if (!IsValidBucketName(address.bucket)) {
    return S3Fault{400,
                   "InvalidBucketName",
                   "The specified bucket is not valid.",
                   {{"BucketName", address.bucket}}};
  }
  const std::string* lock = call.FindHeader("x-amz-bucket-object-lock-enabled");
  if (lock != nullptr && *lock != "false" && *lock != "False") {
    return NotImplemented("x-amz-bucket-object-lock-enabled");
  }
  const std::string* ownership = call.FindHeader("x-amz-object-ownership");
  if (ownership != nullptr && *ownership != "BucketOwnerEnforced" &&
      *ownership != "BucketOwnerPreferred" && *ownership != "ObjectWriter") {
    return InvalidArgument("Invalid x-amz-object-ownership header", "x-amz-object-ownership",
                           *ownership);
  }
  std::string location;
  if (auto fault = ReadLocation(call, location)) return *std::move(fault);
  const std::string& region = context_.settings.region_name;
  if (location == "us-east-1") {
    return S3Fault{400,
                   "InvalidLocationConstraint",
                   "The specified location-constraint is not valid",
                   {{"LocationConstraint", location}}};
  }
  const std::string expected = region == "us-east-1" ? "" : region;
  if (location != expected) {
    return S3Fault{400,
                   "IllegalLocationConstraintException",
                   fmt::format("The {} location constraint is incompatible for the region specific "
                               "endpoint this request was sent to.",
                               location.empty() ? "unspecified" : location),
                   {}};
  }
  if (context_.faults.IsForeignBucket(address.bucket)) {
    return S3Fault{409,
                   "BucketAlreadyExists",
                   "The requested bucket name is not available. The bucket namespace is shared by "
                   "all users of the system. Please select a different name and try again.",
                   {{"BucketName", address.bucket}}};
  }
  auto added = records_->AddBucket({address.bucket, context_.clock.WallNow()});
  if (!added) return Internal(added.error());
  if (!*added && region != "us-east-1") {
    return S3Fault{409,
                   "BucketAlreadyOwnedByYou",
                   "Your previous request to create the named bucket succeeded and you already own "
                   "it.",
                   {{"BucketName", address.bucket}}};
  }
  if (*added && ownership != nullptr) {
    auto kept = records_->PutSetting(
        address.bucket, "ownershipControls",
        fmt::format("<Rule><ObjectOwnership>{}</ObjectOwnership></Rule>", *ownership));
    if (!kept) return Internal(kept.error());
  }
  Answer answer;
  answer.headers = {{"Location", "/" + address.bucket},
                    {"x-amz-bucket-arn", "arn:aws:s3:::" + address.bucket}};
  return answer;
}

Outcome S3Service::HeadBucket(Call&, const Address& address) {
  Answer answer;
  answer.headers = {{"x-amz-bucket-region", context_.settings.region_name},
                    {"x-amz-bucket-arn", "arn:aws:s3:::" + address.bucket},
                    {"x-amz-access-point-alias", "false"},
                    {"Content-Type", "application/xml"}};
  return answer;
}

Outcome S3Service::DeleteBucket(Call&, const Address& address) {
  auto removed = records_->RemoveBucket(address.bucket);
  if (!removed) return Internal(removed.error());
  switch (*removed) {
    case Records::Removal::kAbsent:
      return NoSuchBucket(address.bucket);
    case Records::Removal::kNotEmpty:
      return S3Fault{409,
                     "BucketNotEmpty",
                     "The bucket you tried to delete is not empty",
                     {{"BucketName", address.bucket}}};
    case Records::Removal::kDone:
      break;
  }
  Answer answer;
  answer.status = 204;
  return answer;
}

Outcome S3Service::ListBuckets(Call& call, const Address&) {
  constexpr std::uint64_t kPageMax = 10'000;
  const auto text = [&](std::string_view name) {
    const std::string* found = call.FindQuery(name);
    return found == nullptr ? std::string() : *found;
  };
  const std::string most_text = text("max-buckets");
  const std::uint64_t most = ParseUint(most_text).value_or(most_text.empty() ? kPageMax : 0);
  if (most < 1 || most > kPageMax) {
    return InvalidArgument("Argument max-buckets must be an integer between 1 and 10000",
                           "max-buckets", most_text);
  }
  std::string after;
  if (const std::string* token = call.FindQuery("continuation-token")) {
    const auto decoded = codec::Base64Decode(*token);
    if (!decoded || decoded->empty()) {
      return InvalidArgument("The continuation token provided is incorrect", "continuation-token",
                             *token);
    }
    after = AsText(*decoded);
  }
  const std::string prefix = text("prefix");
  const std::string region = text("bucket-region");
  std::vector<BucketRecord> buckets;
  if (region.empty() || region == context_.settings.region_name) {
    auto found = records_->ListBuckets(prefix, after, most + 1);
    if (!found) return Internal(found.error());
    buckets = *std::move(found);
  }
  const bool truncated = buckets.size() > most;
  if (truncated) buckets.pop_back();
  // As S3: the region of each bucket is told when a page was asked for.
  const bool paged = !most_text.empty() || !region.empty() || !after.empty();
  text::XmlWriter xml;
  xml.Open("ListAllMyBucketsResult", {{"xmlns", std::string(kNamespace)}});
  xml.Open("Owner").Element("ID", context_.settings.account_id).Close();
  xml.Open("Buckets");
  for (const BucketRecord& bucket : buckets) {
    xml.Open("Bucket").Element("Name", bucket.name);
    xml.Element("CreationDate", XmlTime(bucket.created));
    if (paged) xml.Element("BucketRegion", context_.settings.region_name);
    xml.Close();
  }
  xml.Close();
  if (!prefix.empty()) xml.Element("Prefix", prefix);
  if (truncated) {
    xml.Element("ContinuationToken",
                codec::Base64Encode(std::as_bytes(std::span(buckets.back().name))));
  }
  return XmlAnswer(xml.Finish());
}

Outcome S3Service::GetBucketLocation(Call&, const Address&) {
  const std::string& region = context_.settings.region_name;
  text::XmlWriter xml;
  xml.Element("LocationConstraint", region == "us-east-1" ? "" : region,
              {{"xmlns", std::string(kNamespace)}});
  return XmlAnswer(xml.Finish());
}

}  // namespace vmferry::region::s3
