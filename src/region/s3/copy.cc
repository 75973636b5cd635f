// SPDX-License-Identifier: Apache-2.0
//
// CopyObject and UploadPartCopy.
#include <fmt/format.h>

#include "base/units.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/s3/checksum.h"
#include "region/s3/conditions.h"
#include "region/s3/file_digest.h"
#include "region/s3/service.h"
#include "region/s3/tags.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::uint64_t kCopyBytesMax = 5 * kGiB;
constexpr std::string_view kConditionPrefix = "x-amz-copy-source-";

/// Bucket and key of "x-amz-copy-source: /bucket/key?versionId=null", URL-encoded.
MaybeFault ReadSource(const Call& call, Address& source) {
  const std::string* header = call.FindHeader("x-amz-copy-source");
  std::string_view text = header == nullptr ? std::string_view() : *header;
  const std::size_t mark = text.rfind("?versionId=");
  if (mark != text.npos) {
    const std::string_view version = text.substr(mark + 11);
    if (version != "null") {
      return InvalidArgument("Invalid version id specified", "x-amz-copy-source", *header);
    }
    text = text.substr(0, mark);
  }
  if (text.starts_with("arn:")) return NotImplemented("x-amz-copy-source with an access point");
  if (text.starts_with('/')) text.remove_prefix(1);
  const auto decoded = http::PercentDecode(text);
  const std::size_t slash = decoded ? decoded->find('/') : std::string::npos;
  if (slash == std::string::npos || slash == 0 || slash + 1 == decoded->size()) {
    return InvalidArgument(
        "Copy Source must mention the source bucket and key: "
        "sourcebucket/sourcekey",
        "x-amz-copy-source", header == nullptr ? "" : *header);
  }
  source = {decoded->substr(0, slash), decoded->substr(slash + 1)};
  return std::nullopt;
}

/// COPY (the default) or REPLACE.
MaybeFault ReadDirective(const Call& call, std::string_view name, bool& replace) {
  const std::string* value = call.FindHeader(name);
  replace = value != nullptr && *value == "REPLACE";
  if (value == nullptr || replace || *value == "COPY") return std::nullopt;
  const std::string_view what = name == "x-amz-tagging-directive" ? "tagging" : "metadata";
  return InvalidArgument(fmt::format("Unknown {} directive.", what), name, *value);
}

/// "bytes=first-last", both given.
MaybeFault ReadCopyRange(const Call& call, std::uint64_t size_bytes, ByteRange& range) {
  range = {0, size_bytes};
  const std::string* header = call.FindHeader("x-amz-copy-source-range");
  if (header == nullptr) return std::nullopt;
  const std::string_view text = *header;
  const std::size_t dash = text.find('-');
  if (text.starts_with("bytes=") && dash != text.npos) {
    const auto first = ParseUint(text.substr(6, dash - 6));
    const auto last = ParseUint(text.substr(dash + 1));
    if (first && last && *first <= *last) {
      if (*last >= size_bytes) {
        return InvalidArgument(
            fmt::format("Range specified is not valid for source object of size: {}", size_bytes),
            "x-amz-copy-source-range", text);
      }
      range = {*first, *last - *first + 1};
      return std::nullopt;
    }
  }
  return InvalidArgument(
      "The x-amz-copy-source-range value must be of the form bytes=first-last "
      "where first and last are the zero-based offsets of the first and last "
      "bytes to copy",
      "x-amz-copy-source-range", text);
}

std::string Etag(const PayloadDigests& digests) {
  return codec::HexEncode(std::as_bytes(std::span(digests.md5)));
}

void WriteChecksum(text::XmlWriter& xml, const Checksum& checksum) {
  if (!checksum.algorithm.empty()) {
    xml.Element(ChecksumElement(checksum.algorithm), checksum.value);
  }
}

}  // namespace

MaybeFault S3Service::FindSource(const Call& call, ObjectRecord& out) {
  Address source;
  if (auto fault = ReadSource(call, source)) return fault;
  if (context_.faults.IsForeignBucket(source.bucket)) {
    return S3Fault{403, "AccessDenied", "Access Denied", {}};
  }
  const std::string* owner = call.FindHeader("x-amz-source-expected-bucket-owner");
  if (owner != nullptr && *owner != context_.settings.account_id) {
    return S3Fault{403, "AccessDenied", "Access Denied", {}};
  }
  auto bucket = records_->FindBucket(source.bucket);
  if (!bucket) return Internal(bucket.error());
  if (!bucket->has_value()) return NoSuchBucket(source.bucket);
  auto found = records_->FindObject(source.bucket, source.key);
  if (!found) return Internal(found.error());
  if (!found->has_value()) return NoSuchKey(source.key);
  out = **std::move(found);
  std::string failed;
  if (CheckRead(call, out, failed, kConditionPrefix) != ReadCondition::kSend) {
    return PreconditionFailed(failed);
  }
  return std::nullopt;
}

Outcome S3Service::CopyObject(Call& call, const Address& address) {
  ObjectRecord source;
  if (auto fault = FindSource(call, source)) return *std::move(fault);
  bool replace = false;
  bool replace_tags = false;
  if (auto fault = ReadDirective(call, "x-amz-metadata-directive", replace)) {
    return *std::move(fault);
  }
  if (auto fault = ReadDirective(call, "x-amz-tagging-directive", replace_tags)) {
    return *std::move(fault);
  }
  const std::string* algorithm = call.FindHeader("x-amz-checksum-algorithm");
  if (source.bucket == address.bucket && source.key == address.key && !replace &&
      algorithm == nullptr && call.FindHeader("x-amz-server-side-encryption") == nullptr &&
      call.FindHeader("x-amz-storage-class") == nullptr) {
    return InvalidRequest(
        "This copy request is illegal because it is trying to copy an object to itself without "
        "changing the object's metadata, storage class, website redirect location or encryption "
        "attributes.");
  }
  if (source.size_bytes > kCopyBytesMax) {
    return InvalidRequest(
        "The specified copy source is larger than the maximum allowable size "
        "for a copy source: 5368709120");
  }
  ObjectRecord object = source;
  object.bucket = address.bucket;
  object.key = address.key;
  object.modified = context_.clock.WallNow();
  if (replace) object.headers = KeptHeaders(call);
  if (replace_tags) {
    object.tags.clear();
    if (auto fault = ReadTagsOf(call, object.tags)) return *std::move(fault);
  }
  if (auto fault = DigestCopy(algorithm, source, object)) return *std::move(fault);

  auto blob = blobs_->Link(source.blob_id);
  if (!blob) {
    if (blob.error().code() == ErrorCode::kNotFound) return NoSuchKey(source.key);
    return Internal(blob.error());
  }
  object.blob_id = *blob;
  if (auto fault = StoreObject(call, object, nullptr)) return *std::move(fault);
  text::XmlWriter xml;
  xml.Open("CopyObjectResult", {{"xmlns", std::string(kNamespace)}})
      .Element("LastModified", XmlTime(object.modified))
      .Element("ETag", "\"" + object.etag + "\"");
  WriteChecksum(xml, object.checksum);
  if (!object.checksum.algorithm.empty()) xml.Element("ChecksumType", object.checksum.type);
  Answer answer = XmlAnswer(xml.Finish());
  answer.headers.emplace_back("x-amz-server-side-encryption", "AES256");
  answer.log_fields = {{"etag", object.etag}, {"bytes", std::to_string(object.size_bytes)}};
  return answer;
}

/// A copy is one object, whatever its source was made of: its ETag is its MD5 and its checksum that
/// of all of it.
MaybeFault S3Service::DigestCopy(const std::string* algorithm, const ObjectRecord& source,
                                 ObjectRecord& object) {
  std::string wanted = algorithm != nullptr ? UpperCase(*algorithm) : source.checksum.algorithm;
  if (wanted.empty()) wanted = "CRC64NVME";
  const auto kind = KindOfAlgorithm(wanted);
  if (!kind) return NotImplemented(fmt::format("the checksum algorithm {}", wanted));
  const bool simple_etag = source.etag.find('-') == std::string::npos;
  const bool same_checksum =
      source.checksum.algorithm == wanted && source.checksum.type == "FULL_OBJECT";
  if (simple_etag && same_checksum) return std::nullopt;
  auto file = blobs_->Read(source.blob_id);
  if (!file) return NoSuchKey(source.key);
  auto digests = DigestFile(**file, 0, source.size_bytes, {ChecksumKind::kMd5, *kind});
  if (!digests) return Internal(digests.error());
  object.etag = Etag(*digests);
  object.checksum = {wanted, DigestText(*digests, *kind), "FULL_OBJECT"};
  return std::nullopt;
}

Outcome S3Service::UploadPartCopy(Call& call, const Address& address) {
  PartRecord part;
  if (auto fault = ReadPartNumber(call, part.number)) return *std::move(fault);
  const std::string* id = call.FindQuery("uploadId");
  const std::string upload_id = id == nullptr ? std::string() : *id;
  auto upload = records_->FindUpload(upload_id);
  if (!upload) return Internal(upload.error());
  if (!*upload || (*upload)->bucket != address.bucket || (*upload)->key != address.key) {
    return NoSuchUpload(upload_id);
  }
  ObjectRecord source;
  if (auto fault = FindSource(call, source)) return *std::move(fault);
  ByteRange range;
  if (auto fault = ReadCopyRange(call, source.size_bytes, range)) return *std::move(fault);
  if (range.length_bytes > kCopyBytesMax) {
    return InvalidRequest(
        "The specified copy source is larger than the maximum allowable size "
        "for a copy source: 5368709120");
  }
  const auto kind =
      KindOfAlgorithm((*upload)->checksum_algorithm).value_or(ChecksumKind::kCrc64nvme);
  auto blob = blobs_->Slice(source.blob_id, range.offset_bytes, range.length_bytes);
  if (!blob) {
    if (blob.error().code() == ErrorCode::kNotFound) return NoSuchKey(source.key);
    return Internal(blob.error());
  }
  auto file = blobs_->Read(*blob);
  auto digests = file ? DigestFile(**file, 0, range.length_bytes, {ChecksumKind::kMd5, kind})
                      : Result<PayloadDigests>(file.error());
  if (!digests) {
    blobs_->Discard(*blob);
    return Internal(digests.error());
  }
  part.blob_id = *blob;
  part.size_bytes = range.length_bytes;
  part.etag = Etag(*digests);
  part.modified = context_.clock.WallNow();
  if (kind == ChecksumKind::kCrc64nvme) part.crc64nvme = DigestText(*digests, kind);
  if (!(*upload)->checksum_algorithm.empty()) {
    part.checksum = {(*upload)->checksum_algorithm, DigestText(*digests, kind), "FULL_OBJECT"};
  }
  if (auto fault = StorePart(address, upload_id, part)) return *std::move(fault);
  text::XmlWriter xml;
  xml.Open("CopyPartResult", {{"xmlns", std::string(kNamespace)}})
      .Element("LastModified", XmlTime(part.modified))
      .Element("ETag", "\"" + part.etag + "\"");
  WriteChecksum(xml, part.checksum);
  Answer answer = XmlAnswer(xml.Finish());
  answer.headers.emplace_back("x-amz-server-side-encryption", "AES256");
  answer.log_fields = {{"upload_id", upload_id},
                       {"part_number", std::to_string(part.number)},
                       {"etag", part.etag},
                       {"bytes", std::to_string(part.size_bytes)}};
  return answer;
}

}  // namespace vmferry::region::s3
