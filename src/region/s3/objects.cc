// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "codec/text_codec.h"
#include "region/core/request_ids.h"
#include "region/s3/checksum.h"
#include "region/s3/conditions.h"
#include "region/s3/payload_text.h"
#include "region/s3/service.h"
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
  auto blob = blobs_->Put(call.payload);
  if (!blob) return Internal(blob.error());
  object.blob_id = *blob;
  MaybeFault refused;
  auto replaced =
      records_->database().WithTransaction([&](Transaction& transaction) -> Result<std::string> {
        VMFERRY_ASSIGN_OR_RETURN(const auto present,
                                 Records::FindObject(transaction, address.bucket, address.key));
        refused = CheckWrite(call, address.key, present);
        if (refused) return std::string();
        return Records::PutObject(transaction, object);
      });
  if (refused || !replaced) {
    blobs_->Discard(object.blob_id);
    if (refused) return *std::move(refused);
    // The bucket may have been removed since it was checked.
    return Internal(replaced.error());
  }
  blobs_->Discard(*replaced);
  Answer answer;
  answer.headers = {{"ETag", "\"" + object.etag + "\""},
                    {"x-amz-server-side-encryption", "AES256"}};
  AddChecksumHeaders(checksum, answer.headers);
  answer.log_fields = {{"etag", object.etag}, {"bytes", std::to_string(object.size_bytes)}};
  return answer;
}

Outcome S3Service::GetObject(Call& call, const Address& address) {
  if (call.FindQuery("partNumber") != nullptr) return NotImplemented("GetObject with partNumber");
  auto found = records_->FindObject(address.bucket, address.key);
  if (!found) return Internal(found.error());
  if (!found->has_value()) return NoSuchKey(address.key);
  const ObjectRecord& object = **found;
  Answer answer;
  answer.headers = ObjectHeaders(call, object);
  std::string_view failed;
  switch (CheckRead(call, object, failed)) {
    case ReadCondition::kFailed:
      return PreconditionFailed(failed);
    case ReadCondition::kNotModified:
      answer.status = 304;
      return answer;
    case ReadCondition::kSend:
      break;
  }
  bool partial = false;
  const std::string* header = call.FindHeader("range");
  const auto range = ReadRange(header, object.size_bytes, partial);
  if (!range) return InvalidRange(*header, object.size_bytes);
  if (partial) {
    answer.status = 206;
    answer.headers.emplace_back(
        "Content-Range",
        fmt::format("bytes {}-{}/{}", range->offset_bytes,
                    range->offset_bytes + range->length_bytes - 1, object.size_bytes));
  }
  const std::string* mode = call.FindHeader("x-amz-checksum-mode");
  if (mode != nullptr && LowerCase(*mode) == "enabled" && !partial) {
    AddChecksumHeaders(object.checksum, answer.headers);
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

Outcome S3Service::DeleteObject(Call&, const Address& address) {
  auto blob = records_->RemoveObject(address.bucket, address.key);
  if (!blob) return Internal(blob.error());
  blobs_->Discard(*blob);
  Answer answer;
  answer.status = 204;
  return answer;
}

Outcome S3Service::DeleteObjects(Call& call, const Address& address) {
  Checksum checksum;
  if (auto fault = CheckPayload(call, checksum)) return *std::move(fault);
  if (call.FindHeader("content-md5") == nullptr && checksum.algorithm.empty()) {
    return InvalidRequest(
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
  }
  std::string body;
  if (auto fault = ReadPayloadText(call, body)) return *std::move(fault);
  const auto document = text::ParseXml(body);
  if (!document || document->name != "Delete") return MalformedXml();
  const bool quiet = document->TextAt("Quiet") == "true";
  std::vector<std::string> keys;
  for (const text::XmlElement& child : document->children) {
    if (child.name != "Object") continue;
    const text::XmlElement* key = child.Find("Key");
    if (key == nullptr || key->text.empty()) return MalformedXml();
    if (child.Find("ETag") || child.Find("LastModifiedTime") || child.Find("Size")) {
      return NotImplemented("DeleteObjects with conditions");
    }
    keys.push_back(key->text);
  }
  if (keys.empty() || keys.size() > kDeletesMax) return MalformedXml();
  text::XmlWriter xml;
  xml.Open("DeleteResult", {{"xmlns", std::string(kNamespace)}});
  for (const std::string& key : keys) {
    auto blob = records_->RemoveObject(address.bucket, key);
    if (!blob) {
      const S3Fault fault = Internal(blob.error());
      xml.Open("Error").Element("Key", key).Element("Code", fault.code);
      xml.Element("Message", fault.message).Close();
      continue;
    }
    blobs_->Discard(*blob);
    if (!quiet) xml.Open("Deleted").Element("Key", key).Close();
  }
  Answer answer = XmlAnswer(xml.Finish());
  answer.log_fields = {{"keys", std::to_string(keys.size())}};
  return answer;
}

}  // namespace vmferry::region::s3
