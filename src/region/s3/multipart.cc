// SPDX-License-Identifier: Apache-2.0
//
// Multipart uploads.
#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "codec/text_codec.h"
#include "region/s3/checksum.h"
#include "region/s3/conditions.h"
#include "region/s3/file_digest.h"
#include "region/s3/payload_text.h"
#include "region/s3/service.h"
#include "region/s3/tags.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::uint64_t kPartNumberMax = 10'000;
constexpr std::uint64_t kPartBytesMin = 5 * kMiB;  // all but the last

std::string QueryText(const Call& call, std::string_view name) {
  const std::string* found = call.FindQuery(name);
  return found == nullptr ? std::string() : *found;
}

std::string Unquoted(std::string_view etag) {
  etag = text::Trim(etag);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

struct ListedPart {
  std::uint64_t number = 0;
  std::string etag;
  std::string checksum;  ///< the value under the upload's algorithm
};

MaybeFault ReadPartList(const std::string& body, const UploadRecord& upload,
                        std::vector<ListedPart>& out) {
  const auto document = text::ParseXml(body);
  if (!document || document->name != "CompleteMultipartUpload") return MalformedXml();
  for (const text::XmlElement& child : document->children) {
    if (child.name != "Part") continue;
    ListedPart part;
    const auto number = ParseUint(child.TextAt("PartNumber"));
    if (!number || *number < 1 || *number > kPartNumberMax) return MalformedXml();
    part.number = *number;
    part.etag = Unquoted(child.TextAt("ETag"));
    part.checksum = child.TextAt(ChecksumElement(upload.checksum_algorithm));
    for (const text::XmlElement& member : child.children) {
      // A checksum of an upload that was made without one, or of another algorithm: no part has it.
      if (member.name.starts_with("Checksum") && part.checksum.empty()) part.checksum = "none";
    }
    if (!out.empty() && out.back().number >= part.number) {
      return S3Fault{400,
                     "InvalidPartOrder",
                     "The list of parts was not in ascending order. Parts must be ordered by part "
                     "number.",
                     {{"UploadId", upload.id}}};
    }
    out.push_back(std::move(part));
  }
  if (out.empty()) return MalformedXml();
  return std::nullopt;
}

/// Chooses the parts that the list names and checks each.
MaybeFault ChooseParts(const UploadRecord& upload, const std::vector<ListedPart>& listed,
                       const std::vector<PartRecord>& present, std::vector<PartRecord>& out) {
  for (const ListedPart& want : listed) {
    const auto found = std::ranges::find(present, want.number, &PartRecord::number);
    const bool checksum_differs =
        found != present.end() && !want.checksum.empty() && want.checksum != found->checksum.value;
    if (found == present.end() || found->etag != want.etag || checksum_differs) {
      return S3Fault{400,
                     "InvalidPart",
                     "One or more of the specified parts could not be found.  The part may not "
                     "have been uploaded, or the specified entity tag may not match the part's "
                     "entity tag.",
                     {{"UploadId", upload.id},
                      {"PartNumber", std::to_string(want.number)},
                      {"ETag", want.etag}}};
    }
    if (upload.checksum_type == "COMPOSITE" && want.checksum.empty()) {
      return InvalidRequest(
          fmt::format("The upload was created using a {} checksum. The complete request must "
                      "include the checksum for each part. It was missing for part {} in the "
                      "request.",
                      LowerCase(upload.checksum_algorithm), want.number));
    }
    if (!out.empty() && out.back().size_bytes < kPartBytesMin) {
      return S3Fault{400,
                     "EntityTooSmall",
                     "Your proposed upload is smaller than the minimum allowed size",
                     {{"ETag", out.back().etag},
                      {"PartNumber", std::to_string(out.back().number)},
                      {"MinSizeAllowed", std::to_string(kPartBytesMin)},
                      {"ProposedSize", std::to_string(out.back().size_bytes)}}};
    }
    out.push_back(*found);
  }
  return std::nullopt;
}

}  // namespace

MaybeFault ReadPartNumber(const Call& call, std::uint64_t& number) {
  const std::string text = QueryText(call, "partNumber");
  number = ParseUint(text).value_or(0);
  if (number >= 1 && number <= kPartNumberMax) return std::nullopt;
  return InvalidArgument("Part number must be an integer between 1 and 10000, inclusive",
                         "partNumber", text);
}

Outcome S3Service::CreateMultipartUpload(Call& call, const Address& address) {
  UploadRecord upload;
  upload.bucket = address.bucket;
  upload.key = address.key;
  upload.created = context_.clock.WallNow();
  upload.headers = KeptHeaders(call);
  if (auto fault = ReadTagsOf(call, upload.tags)) return *std::move(fault);
  if (const std::string* algorithm = call.FindHeader("x-amz-checksum-algorithm")) {
    upload.checksum_algorithm = UpperCase(*algorithm);
    const auto kind = KindOfAlgorithm(upload.checksum_algorithm);
    if (!kind) return NotImplemented(fmt::format("the checksum algorithm {}", *algorithm));
    const std::string* type = call.FindHeader("x-amz-checksum-type");
    const bool whole_only = *kind == ChecksumKind::kCrc64nvme;
    upload.checksum_type = type != nullptr ? *type : whole_only ? "FULL_OBJECT" : "COMPOSITE";
    const bool parts_only = *kind == ChecksumKind::kSha1 || *kind == ChecksumKind::kSha256;
    const bool known = upload.checksum_type == "FULL_OBJECT" || upload.checksum_type == "COMPOSITE";
    if (!known || (whole_only && upload.checksum_type == "COMPOSITE") ||
        (parts_only && upload.checksum_type == "FULL_OBJECT")) {
      return InvalidRequest(
          fmt::format("The {} checksum type cannot be used with the {} checksum algorithm.",
                      upload.checksum_type, LowerCase(upload.checksum_algorithm)));
    }
  }
  upload.id = context_.random.Base32(64);
  if (auto added = records_->AddUpload(upload); !added) return Internal(added.error());
  text::XmlWriter xml;
  xml.Open("InitiateMultipartUploadResult", {{"xmlns", std::string(kNamespace)}})
      .Element("Bucket", upload.bucket)
      .Element("Key", upload.key)
      .Element("UploadId", upload.id);
  Answer answer = XmlAnswer(xml.Finish());
  answer.headers.emplace_back("x-amz-server-side-encryption", "AES256");
  if (!upload.checksum_algorithm.empty()) {
    answer.headers.emplace_back("x-amz-checksum-algorithm", upload.checksum_algorithm);
    answer.headers.emplace_back("x-amz-checksum-type", upload.checksum_type);
  }
  answer.log_fields = {{"upload_id", upload.id}};
  return answer;
}

Outcome S3Service::UploadPart(Call& call, const Address& address) {
  const std::string upload_id = QueryText(call, "uploadId");
  PartRecord part;
  if (auto fault = ReadPartNumber(call, part.number)) return *std::move(fault);
  if (auto fault = CheckPayload(call, part.checksum)) return *std::move(fault);
  part.crc64nvme = DigestText(call.payload.digests, ChecksumKind::kCrc64nvme);
  part.size_bytes = call.payload.size_bytes;
  part.etag = codec::HexEncode(std::as_bytes(std::span(call.payload.digests.md5)));
  part.modified = context_.clock.WallNow();
  auto blob = blobs_->Put(call.payload);
  if (!blob) return Internal(blob.error());
  part.blob_id = *blob;
  if (auto fault = StorePart(address, upload_id, part)) return *std::move(fault);
  Answer answer;
  answer.headers = {{"ETag", "\"" + part.etag + "\""}, {"x-amz-server-side-encryption", "AES256"}};
  if (!part.checksum.algorithm.empty()) {
    answer.headers.emplace_back(ChecksumHeader(part.checksum.algorithm), part.checksum.value);
  }
  answer.log_fields = {{"upload_id", upload_id},
                       {"part_number", std::to_string(part.number)},
                       {"etag", part.etag},
                       {"bytes", std::to_string(part.size_bytes)}};
  return answer;
}

MaybeFault S3Service::StorePart(const Address& address, const std::string& upload_id,
                                const PartRecord& part) {
  MaybeFault refused;
  auto replaced =
      records_->database().WithTransaction([&](Transaction& transaction) -> Result<std::string> {
        VMFERRY_ASSIGN_OR_RETURN(const auto upload, Records::FindUpload(transaction, upload_id));
        if (!upload || upload->bucket != address.bucket || upload->key != address.key) {
          refused = NoSuchUpload(upload_id);
          return std::string();
        }
        const std::string& wanted = upload->checksum_algorithm;
        if (!wanted.empty() && part.checksum.algorithm != wanted &&
            (upload->checksum_type == "COMPOSITE" || !part.checksum.algorithm.empty())) {
          const std::string& sent = part.checksum.algorithm;
          refused = InvalidRequest(
              fmt::format("Checksum Type mismatch occurred, expected checksum Type: {}, actual "
                          "checksum Type: {}",
                          LowerCase(wanted), sent.empty() ? "null" : LowerCase(sent)));
          return std::string();
        }
        return Records::PutPart(transaction, upload_id, part);
      });
  if (refused || !replaced) {
    blobs_->Discard(part.blob_id);
    return refused ? std::move(refused) : Internal(replaced.error());
  }
  blobs_->Discard(*replaced);
  return std::nullopt;
}

Outcome S3Service::CompleteMultipartUpload(Call& call, const Address& address) {
  const std::string upload_id = QueryText(call, "uploadId");
  auto upload = records_->FindUpload(upload_id);
  if (!upload) return Internal(upload.error());
  if (!*upload || (*upload)->bucket != address.bucket || (*upload)->key != address.key) {
    return NoSuchUpload(upload_id);
  }
  std::string body;
  if (auto fault = ReadPayloadText(call, body)) return *std::move(fault);
  std::vector<ListedPart> listed;
  if (auto fault = ReadPartList(body, **upload, listed)) return *std::move(fault);
  auto present = records_->ListParts(upload_id, 0, kPartNumberMax);
  if (!present) return Internal(present.error());
  std::vector<PartRecord> parts;
  if (auto fault = ChooseParts(**upload, listed, *present, parts)) return *std::move(fault);

  ObjectRecord object;
  object.bucket = address.bucket;
  object.key = address.key;
  object.etag = MultipartEtag(parts);
  object.modified = context_.clock.WallNow();
  object.headers = (*upload)->headers;
  object.tags = (*upload)->tags;
  std::vector<std::string> blobs;
  for (const PartRecord& part : parts) {
    object.size_bytes += part.size_bytes;
    blobs.push_back(part.blob_id);
  }
  const std::string size_sent = [&] {
    const std::string* sent = call.FindHeader("x-amz-mp-object-size");
    return sent == nullptr ? std::string() : *sent;
  }();
  if (!size_sent.empty() && size_sent != std::to_string(object.size_bytes)) {
    return InvalidRequest(
        fmt::format("The provided 'x-amz-mp-object-size' header value {} does "
                    "not match what was computed: {}",
                    size_sent, object.size_bytes));
  }
  auto joined = blobs_->Join(blobs);
  if (!joined) return Internal(joined.error());
  object.blob_id = *joined;
  if (auto fault = SetWholeChecksum(call, **upload, parts, object)) {
    blobs_->Discard(object.blob_id);
    return *std::move(fault);
  }
  MaybeFault refused;
  std::vector<std::string> unneeded;
  auto committed =
      records_->database().WithTransaction([&](Transaction& transaction) -> Result<void> {
        VMFERRY_ASSIGN_OR_RETURN(const auto still, Records::FindUpload(transaction, upload_id));
        if (!still) refused = NoSuchUpload(upload_id);
        VMFERRY_ASSIGN_OR_RETURN(const auto before,
                                 Records::FindObject(transaction, address.bucket, address.key));
        if (!refused) refused = CheckWrite(call, address.key, before);
        if (refused) return {};
        VMFERRY_ASSIGN_OR_RETURN(unneeded, Records::RemoveUpload(transaction, upload_id));
        VMFERRY_RETURN_IF_ERROR(Records::AddObjectParts(transaction, object.blob_id, parts));
        VMFERRY_ASSIGN_OR_RETURN(std::string replaced, Records::PutObject(transaction, object));
        unneeded.push_back(std::move(replaced));
        return {};
      });
  if (refused || !committed) {
    blobs_->Discard(object.blob_id);
    return refused ? *std::move(refused) : Internal(committed.error());
  }
  for (const std::string& blob : unneeded) blobs_->Discard(blob);
  text::XmlWriter xml;
  xml.Open("CompleteMultipartUploadResult", {{"xmlns", std::string(kNamespace)}})
      .Element("Location", context_.settings.Endpoint() + call.raw_path)
      .Element("Bucket", object.bucket)
      .Element("Key", object.key)
      .Element("ETag", "\"" + object.etag + "\"");
  if (!object.checksum.algorithm.empty()) {
    xml.Element(ChecksumElement(object.checksum.algorithm), object.checksum.value)
        .Element("ChecksumType", object.checksum.type);
  }
  Answer answer = XmlAnswer(xml.Finish());
  answer.headers.emplace_back("x-amz-server-side-encryption", "AES256");
  answer.log_fields = {{"upload_id", upload_id},
                       {"etag", object.etag},
                       {"bytes", std::to_string(object.size_bytes)}};
  return answer;
}

MaybeFault S3Service::SetWholeChecksum(const Call& call, const UploadRecord& upload,
                                       const std::vector<PartRecord>& parts, ObjectRecord& object) {
  // An upload without an algorithm gets S3's own.
  const bool unnamed = upload.checksum_algorithm.empty();
  object.checksum = {unnamed ? "CRC64NVME" : upload.checksum_algorithm, "",
                     unnamed ? "FULL_OBJECT" : upload.checksum_type};
  const std::string* type = call.FindHeader("x-amz-checksum-type");
  if (type != nullptr && (unnamed || *type != object.checksum.type)) {
    return InvalidRequest(fmt::format(
        "The upload was created using the {} checksum mode. The complete request must use the same "
        "checksum mode.",
        unnamed ? "null" : upload.checksum_type));
  }
  const auto kind = KindOfAlgorithm(object.checksum.algorithm);
  if (!kind) return NotImplemented("the checksum algorithm " + object.checksum.algorithm);
  if (object.checksum.type == "COMPOSITE") {
    object.checksum.value = CompositeChecksum(parts, *kind);
  } else if (auto combined = CombinedChecksum(parts, *kind)) {
    object.checksum.value = *std::move(combined);
  } else {
    auto file = blobs_->Read(object.blob_id);
    auto digests = file ? DigestFile(**file, 0, object.size_bytes, {*kind})
                        : Result<PayloadDigests>(file.error());
    if (!digests) return Internal(digests.error());
    object.checksum.value = DigestText(*digests, *kind);
  }
  const std::string* sent = call.FindHeader(ChecksumHeader(object.checksum.algorithm));
  // Clients send composite checksums with and without the number of parts.
  const std::string_view computed = object.checksum.value;
  if (sent == nullptr || *sent == computed || *sent == computed.substr(0, computed.rfind('-'))) {
    return std::nullopt;
  }
  return S3Fault{400,
                 "BadDigest",
                 fmt::format("The {} you specified did not match the calculated checksum.",
                             LowerCase(object.checksum.algorithm)),
                 {}};
}

Outcome S3Service::AbortMultipartUpload(Call& call, const Address& address) {
  const std::string upload_id = QueryText(call, "uploadId");
  bool found = false;
  auto blobs = records_->database().WithTransaction(
      [&](Transaction& transaction) -> Result<std::vector<std::string>> {
        VMFERRY_ASSIGN_OR_RETURN(const auto upload, Records::FindUpload(transaction, upload_id));
        found = upload && upload->bucket == address.bucket && upload->key == address.key;
        if (!found) return std::vector<std::string>();
        return Records::RemoveUpload(transaction, upload_id);
      });
  if (!blobs) return Internal(blobs.error());
  if (!found) return NoSuchUpload(upload_id);
  for (const std::string& blob : *blobs) blobs_->Discard(blob);
  Answer answer;
  answer.status = 204;
  answer.log_fields = {{"upload_id", upload_id}};
  return answer;
}

}  // namespace vmferry::region::s3
