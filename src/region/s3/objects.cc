// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "base/units.h"
#include "codec/text_codec.h"
#include "region/core/request_ids.h"
#include "region/s3/checksum.h"
#include "region/s3/conditions.h"
#include "region/s3/file_digest.h"
#include "region/s3/payload_text.h"
#include "region/s3/service.h"
#include "region/s3/tags.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::size_t kDeletesMax = 1000;

/// Query parameters of GetObject that replace headers of the answer.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kOverrides = {{
    {"response-content-type", "Content-Type"},
    {"response-content-language", "Content-Language"},
    {"response-expires", "Expires"},
    {"response-cache-control", "Cache-Control"},
    {"response-content-disposition", "Content-Disposition"},
    {"response-content-encoding", "Content-Encoding"},
}};

std::vector<NameValue> ObjectHeaders(const Call& call, const ObjectRecord& object) {
  std::vector<NameValue> headers = {
      {"Last-Modified", HttpDate(object.modified)},
      {"ETag", "\"" + object.etag + "\""},
      {"Accept-Ranges", "bytes"},
      {"x-amz-server-side-encryption", "AES256"},
  };
  for (const auto& [name, value] : object.headers) {
    std::string sent = value;
    for (const auto& [parameter, header] : kOverrides) {
      const std::string* instead = call.FindQuery(parameter);
      if (header == name && instead != nullptr) sent = *instead;
    }
    headers.emplace_back(name, std::move(sent));
  }
  for (const auto& [parameter, header] : kOverrides) {
    const std::string* instead = call.FindQuery(parameter);
    if (instead == nullptr) continue;
    bool stored = false;
    for (const auto& [name, value] : object.headers) stored = stored || name == header;
    if (!stored) headers.emplace_back(header, *instead);
  }
  return headers;
}

S3Fault InvalidRange(const std::string& range, std::uint64_t size_bytes) {
  return {416,
          "InvalidRange",
          "The requested range is not satisfiable",
          {{"RangeRequested", range}, {"ActualObjectSize", std::to_string(size_bytes)}}};
}

}  // namespace

std::vector<NameValue> KeptHeaders(const Call& call) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kKept = {{
      {"cache-control", "Cache-Control"},
      {"content-disposition", "Content-Disposition"},
      {"content-encoding", "Content-Encoding"},
      {"content-language", "Content-Language"},
      {"expires", "Expires"},
  }};
  std::vector<NameValue> kept;
  const std::string* type = call.FindHeader("content-type");
  kept.emplace_back("Content-Type",
                    type == nullptr || type->empty() ? "binary/octet-stream" : *type);
  for (const auto& [name, shown] : kKept) {
    const std::string* found = call.FindHeader(name);
    if (found == nullptr) continue;
    std::string_view value = *found;
    // aws-chunked is how the body travelled, not how it is stored.
    if (value.starts_with("aws-chunked")) {
      const std::size_t comma = std::min(value.find(','), value.size());
      value = text::Trim(value.substr(std::min(comma + 1, value.size())));
      if (value.empty()) continue;
    }
    kept.emplace_back(shown, value);
  }
  for (const auto& [name, value] : call.headers) {
    if (name.starts_with("x-amz-meta-")) kept.emplace_back(name, value);
  }
  return kept;
}

Outcome S3Service::PutObject(Call& call, const Address& address) {
  Checksum checksum;
  if (auto fault = CheckPayload(call, checksum)) return *std::move(fault);
  ObjectRecord object;
  object.bucket = address.bucket;
  object.key = address.key;
  object.size_bytes = call.payload.size_bytes;
  object.etag = codec::HexEncode(std::as_bytes(std::span(call.payload.digests.md5)));
  object.modified = context_.clock.WallNow();
  object.checksum = checksum;
  object.headers = KeptHeaders(call);
  if (auto fault = ReadTagsOf(call, object.tags)) return *std::move(fault);
  if (object.checksum.algorithm.empty()) {
    const std::string crc = DigestText(call.payload.digests, ChecksumKind::kCrc64nvme);
    if (!crc.empty()) object.checksum = {"CRC64NVME", crc, "FULL_OBJECT"};
  }
  auto blob = blobs_->Put(call.payload);
  if (!blob) return Internal(blob.error());
  object.blob_id = *blob;
  if (auto fault = StoreObject(call, object, nullptr)) return *std::move(fault);
  Answer answer;
  answer.headers = {{"ETag", "\"" + object.etag + "\""},
                    {"x-amz-server-side-encryption", "AES256"}};
  AddChecksumHeaders(object.checksum, answer.headers);
  answer.log_fields = {{"etag", object.etag}, {"bytes", std::to_string(object.size_bytes)}};
  return answer;
}

MaybeFault S3Service::StoreObject(const Call& call, const ObjectRecord& object,
                                  const std::vector<PartRecord>* parts) {
  MaybeFault refused;
  auto replaced =
      records_->database().WithTransaction([&](Transaction& transaction) -> Result<std::string> {
        VMFERRY_ASSIGN_OR_RETURN(const auto present,
                                 Records::FindObject(transaction, object.bucket, object.key));
        refused = CheckWrite(call, object.key, present);
        if (refused) return std::string();
        if (parts != nullptr) {
          VMFERRY_RETURN_IF_ERROR(Records::AddObjectParts(transaction, object.blob_id, *parts));
        }
        return Records::PutObject(transaction, object);
      });
  if (refused || !replaced) {
    blobs_->Discard(object.blob_id);
    // The bucket may have been removed since it was checked.
    return refused ? std::move(refused) : Internal(replaced.error());
  }
  blobs_->Discard(*replaced);
  return std::nullopt;
}

MaybeFault S3Service::FindPart(const Call& call, const ObjectRecord& object, Answer& answer,
                               std::uint64_t& offset_bytes, std::uint64_t& length_bytes) {
  const std::string& text = *call.FindQuery("partNumber");
  const auto number = ParseUint(text);
  if (!number || *number < 1 || *number > 10'000) {
    return InvalidArgument("Part number must be an integer between 1 and 10000, inclusive",
                           "partNumber", text);
  }
  if (call.FindHeader("range") != nullptr) {
    return InvalidRequest("Cannot specify both Range header and partNumber query parameter");
  }
  auto part = records_->FindObjectPart(object.blob_id, *number);
  if (!part) return Internal(part.error());
  const bool simple = object.etag.find('-') == std::string::npos;
  if (!*part && !(simple && *number == 1)) {
    return S3Fault{
        416,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
        {{"PartNumberRequested", text},
         {"ActualPartCount", simple ? "1" : object.etag.substr(object.etag.find('-') + 1)}}};
  }
  offset_bytes = 0;
  length_bytes = object.size_bytes;
  const std::string* mode = call.FindHeader("x-amz-checksum-mode");
  const bool checksum = mode != nullptr && LowerCase(*mode) == "enabled";
  if (!*part) {
    if (checksum) AddChecksumHeaders(object.checksum, answer.headers);
    return std::nullopt;
  }
  offset_bytes = (*part)->offset_bytes;
  length_bytes = (*part)->size_bytes;
  answer.headers.emplace_back("x-amz-mp-parts-count", std::to_string((*part)->count));
  if (checksum && object.checksum.type == "COMPOSITE" && !(*part)->checksum.algorithm.empty()) {
    answer.headers.emplace_back(ChecksumHeader((*part)->checksum.algorithm),
                                (*part)->checksum.value);
    answer.headers.emplace_back("x-amz-checksum-type", "COMPOSITE");
  }
  return std::nullopt;
}

Outcome S3Service::GetObject(Call& call, const Address& address) {
  auto found = records_->FindObject(address.bucket, address.key);
  if (!found) return Internal(found.error());
  if (!found->has_value()) return NoSuchKey(address.key);
  const ObjectRecord& object = **found;
  Answer answer;
  answer.headers = ObjectHeaders(call, object);
  std::string failed;
  switch (CheckRead(call, object, failed)) {
    case ReadCondition::kFailed:
      return PreconditionFailed(failed);
    case ReadCondition::kNotModified:
      answer.status = 304;
      return answer;
    case ReadCondition::kSend:
      break;
  }
  std::optional<ByteRange> range;
  bool partial = false;
  if (call.FindQuery("partNumber") != nullptr) {
    range.emplace();
    partial = object.size_bytes > 0;
    if (auto fault = FindPart(call, object, answer, range->offset_bytes, range->length_bytes)) {
      return *std::move(fault);
    }
  } else {
    const std::string* header = call.FindHeader("range");
    range = ReadRange(header, object.size_bytes, partial);
    if (!range) return InvalidRange(*header, object.size_bytes);
    const std::string* mode = call.FindHeader("x-amz-checksum-mode");
    if (mode != nullptr && LowerCase(*mode) == "enabled" && !partial) {
      AddChecksumHeaders(object.checksum, answer.headers);
    }
  }
  if (partial) {
    answer.status = 206;
    answer.headers.emplace_back(
        "Content-Range",
        fmt::format("bytes {}-{}/{}", range->offset_bytes,
                    range->offset_bytes + range->length_bytes - 1, object.size_bytes));
  }
  if (!object.tags.empty() && call.method == "GET") {
    answer.headers.emplace_back("x-amz-tagging-count", std::to_string(object.tags.size()));
  }
  if (call.method == "HEAD") {
    answer.announced_length_bytes = range->length_bytes;
    return answer;
  }
  auto file = blobs_->Read(object.blob_id);
  if (!file) {
    // Replaced or deleted between the record and the file: what is there now counts.
    if (file.error().code() == ErrorCode::kNotFound) return NoSuchKey(address.key);
    return Internal(file.error());
  }
  answer.file = FileBody{*std::move(file), range->offset_bytes, range->length_bytes};
  return answer;
}

Outcome S3Service::DeleteObject(Call& call, const Address& address) {
  const std::string* match = call.FindHeader("if-match");
  if (auto fault = RemoveObject(address.bucket, address.key, match)) return *std::move(fault);
  Answer answer;
  answer.status = 204;
  return answer;
}

MaybeFault S3Service::RemoveObject(const std::string& bucket, const std::string& key,
                                   const std::string* if_match) {
  MaybeFault refused;
  auto blob =
      records_->database().WithTransaction([&](Transaction& transaction) -> Result<std::string> {
        if (if_match != nullptr) {
          VMFERRY_ASSIGN_OR_RETURN(const auto present,
                                   Records::FindObject(transaction, bucket, key));
          refused = CheckEtag(*if_match, key, present);
          if (refused) return std::string();
        }
        return Records::RemoveObject(transaction, bucket, key);
      });
  if (!blob) return Internal(blob.error());
  blobs_->Discard(*blob);
  return refused;
}

Outcome S3Service::DeleteObjects(Call& call, const Address& address) {
  std::string body;
  if (auto fault = ReadCheckedText(call, body)) return *std::move(fault);
  const auto document = text::ParseXml(body);
  if (!document || document->name != "Delete") return MalformedXml();
  const bool quiet = document->TextAt("Quiet") == "true";
  std::vector<const text::XmlElement*> objects;
  for (const text::XmlElement& child : document->children) {
    if (child.name != "Object") continue;
    const text::XmlElement* key = child.Find("Key");
    if (key == nullptr || key->text.empty()) return MalformedXml();
    if (child.Find("LastModifiedTime") || child.Find("Size")) {
      return NotImplemented("DeleteObjects with LastModifiedTime or Size");
    }
    objects.push_back(&child);
  }
  if (objects.empty() || objects.size() > kDeletesMax) return MalformedXml();
  text::XmlWriter xml;
  xml.Open("DeleteResult", {{"xmlns", std::string(kNamespace)}});
  for (const text::XmlElement* object : objects) {
    const std::string& key = object->Find("Key")->text;
    const text::XmlElement* etag = object->Find("ETag");
    const std::string version = object->TextAt("VersionId");
    MaybeFault fault;
    if (!version.empty() && version != "null") {
      fault = S3Fault{400, "NoSuchVersion", "The specified version does not exist.", {}};
    } else {
      fault = RemoveObject(address.bucket, key, etag == nullptr ? nullptr : &etag->text);
    }
    if (fault) {
      xml.Open("Error").Element("Key", key).Element("Code", fault->code);
      xml.Element("Message", fault->message).Close();
    } else if (!quiet) {
      xml.Open("Deleted").Element("Key", key).Close();
    }
  }
  Answer answer = XmlAnswer(xml.Finish());
  answer.log_fields = {{"keys", std::to_string(objects.size())}};
  return answer;
}

Outcome S3Service::GetObjectTagging(Call&, const Address& address) {
  auto found = records_->FindObject(address.bucket, address.key);
  if (!found) return Internal(found.error());
  if (!found->has_value()) return NoSuchKey(address.key);
  return XmlAnswer(TaggingXml((*found)->tags));
}

Outcome S3Service::PutObjectTagging(Call& call, const Address& address) {
  std::string body;
  if (auto fault = ReadCheckedText(call, body)) return *std::move(fault);
  std::vector<NameValue> tags;
  if (auto fault = ReadTagging(body, kObjectTagsMax, tags)) return *std::move(fault);
  auto changed = records_->SetTags(address.bucket, address.key, tags);
  if (!changed) return Internal(changed.error());
  if (!*changed) return NoSuchKey(address.key);
  return Answer();
}

Outcome S3Service::DeleteObjectTagging(Call&, const Address& address) {
  auto changed = records_->SetTags(address.bucket, address.key, {});
  if (!changed) return Internal(changed.error());
  if (!*changed) return NoSuchKey(address.key);
  Answer answer;
  answer.status = 204;
  return answer;
}

}  // namespace vmferry::region::s3
