// SPDX-License-Identifier: Apache-2.0
//
// Listings of multipart uploads and their parts.
#include <algorithm>

#include "base/units.h"
#include "http/message.h"
#include "region/s3/checksum.h"
#include "region/s3/service.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::uint64_t kPartNumberMax = 10'000;
constexpr std::uint64_t kListMax = 1000;

std::string QueryText(const Call& call, std::string_view name) {
  const std::string* found = call.FindQuery(name);
  return found == nullptr ? std::string() : *found;
}

/// A number parameter of a listing, bounded.
std::uint64_t ListNumber(const Call& call, std::string_view name, std::uint64_t fallback,
                         std::uint64_t most) {
  return std::min(ParseUint(QueryText(call, name)).value_or(fallback), most);
}

struct UploadListing {
  std::string prefix;
  std::string delimiter;
  std::string key_marker;
  std::string id_marker;
  std::uint64_t most = kListMax;
};

struct UploadPage {
  std::vector<UploadRecord> uploads;
  std::vector<std::string> prefixes;
  bool truncated = false;
  std::string last_key;  ///< of the page: a key or a common prefix
  std::string last_id;
};

/// Page by page as listings of objects: a common prefix counts as one and passes over what it
/// holds.
Result<UploadPage> ReadUploads(Records& records, std::string_view bucket, UploadListing request) {
  UploadPage page;
  std::uint64_t count = 0;
  const auto common = [&](const std::string& key) {
    if (request.delimiter.empty() || key.size() < request.prefix.size()) return std::string();
    const std::size_t found = key.find(request.delimiter, request.prefix.size());
    return found == key.npos ? std::string() : key.substr(0, found + request.delimiter.size());
  };
  // A marker inside a common prefix passes over all of it: no byte of UTF-8 is 0xff.
  if (const std::string inside = common(request.key_marker);
      !inside.empty() && request.key_marker.starts_with(request.prefix)) {
    request.key_marker = inside + '\xff';
  }
  while (request.most > 0) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<UploadRecord> batch,
                             records.ListUploads(bucket, request.prefix, request.key_marker,
                                                 request.id_marker, request.most - count + 1));
    bool skipped = false;
    for (const UploadRecord& upload : batch) {
      page.truncated = count == request.most;
      if (page.truncated) return page;
      ++count;
      const std::string prefix = common(upload.key);
      if (prefix.empty()) {
        page.uploads.push_back(upload);
        page.last_key = request.key_marker = upload.key;
        page.last_id = request.id_marker = upload.id;
        continue;
      }
      page.prefixes.push_back(prefix);
      page.last_key = prefix;
      page.last_id.clear();
      request.key_marker = prefix + '\xff';
      request.id_marker.clear();
      skipped = true;
      break;
    }
    if (!skipped) return page;
  }
  return page;
}

}  // namespace

Outcome S3Service::ListParts(Call& call, const Address& address) {
  const std::string upload_id = QueryText(call, "uploadId");
  auto upload = records_->FindUpload(upload_id);
  if (!upload) return Internal(upload.error());
  if (!*upload || (*upload)->bucket != address.bucket || (*upload)->key != address.key) {
    return NoSuchUpload(upload_id);
  }
  const std::uint64_t after = ListNumber(call, "part-number-marker", 0, kPartNumberMax);
  const std::uint64_t most = ListNumber(call, "max-parts", kListMax, kListMax);
  auto parts = records_->ListParts(upload_id, after, most + 1);
  if (!parts) return Internal(parts.error());
  const bool truncated = parts->size() > most;
  if (truncated) parts->resize(static_cast<std::size_t>(most));
  const std::string& account = context_.settings.account_id;
  text::XmlWriter xml;
  xml.Open("ListPartsResult", {{"xmlns", std::string(kNamespace)}})
      .Element("Bucket", address.bucket)
      .Element("Key", address.key)
      .Element("UploadId", upload_id);
  xml.Open("Initiator").Element("ID", account).Close();
  xml.Open("Owner").Element("ID", account).Close();
  xml.Element("StorageClass", "STANDARD").Element("PartNumberMarker", std::to_string(after));
  xml.Element("NextPartNumberMarker", std::to_string(parts->empty() ? 0 : parts->back().number))
      .Element("MaxParts", std::to_string(most))
      .Element("IsTruncated", truncated ? "true" : "false");
  if (!(*upload)->checksum_algorithm.empty()) {
    xml.Element("ChecksumAlgorithm", (*upload)->checksum_algorithm)
        .Element("ChecksumType", (*upload)->checksum_type);
  }
  for (const PartRecord& part : *parts) {
    xml.Open("Part")
        .Element("PartNumber", std::to_string(part.number))
        .Element("LastModified", XmlTime(part.modified))
        .Element("ETag", "\"" + part.etag + "\"")
        .Element("Size", std::to_string(part.size_bytes));
    if (!part.checksum.algorithm.empty() && !(*upload)->checksum_algorithm.empty()) {
      xml.Element(ChecksumElement(part.checksum.algorithm), part.checksum.value);
    }
    xml.Close();
  }
  return XmlAnswer(xml.Finish());
}

Outcome S3Service::ListMultipartUploads(Call& call, const Address& address) {
  UploadListing listing;
  listing.prefix = QueryText(call, "prefix");
  listing.delimiter = QueryText(call, "delimiter");
  listing.key_marker = QueryText(call, "key-marker");
  listing.id_marker = QueryText(call, "upload-id-marker");
  listing.most = ListNumber(call, "max-uploads", kListMax, kListMax);
  const std::string encoding = QueryText(call, "encoding-type");
  if (!encoding.empty() && encoding != "url") {
    return InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type",
                           encoding);
  }
  const auto shown = [&](const std::string& text) {
    return encoding.empty() ? text : http::PercentEncode(text, true);
  };
  auto page = ReadUploads(*records_, address.bucket, listing);
  if (!page) return Internal(page.error());
  const std::string& account = context_.settings.account_id;
  text::XmlWriter xml;
  xml.Open("ListMultipartUploadsResult", {{"xmlns", std::string(kNamespace)}})
      .Element("Bucket", address.bucket)
      .Element("KeyMarker", shown(listing.key_marker))
      .Element("UploadIdMarker", listing.id_marker)
      .Element("Prefix", shown(listing.prefix));
  if (!listing.delimiter.empty()) xml.Element("Delimiter", shown(listing.delimiter));
  if (page->truncated) {
    xml.Element("NextKeyMarker", shown(page->last_key))
        .Element("NextUploadIdMarker", page->last_id);
  }
  xml.Element("MaxUploads", std::to_string(listing.most));
  if (!encoding.empty()) xml.Element("EncodingType", encoding);
  xml.Element("IsTruncated", page->truncated ? "true" : "false");
  for (const UploadRecord& upload : page->uploads) {
    xml.Open("Upload").Element("Key", shown(upload.key)).Element("UploadId", upload.id);
    xml.Open("Initiator").Element("ID", account).Close();
    xml.Open("Owner").Element("ID", account).Close();
    xml.Element("StorageClass", "STANDARD").Element("Initiated", XmlTime(upload.created));
    if (!upload.checksum_algorithm.empty()) {
      xml.Element("ChecksumAlgorithm", upload.checksum_algorithm)
          .Element("ChecksumType", upload.checksum_type);
    }
    xml.Close();
  }
  for (const std::string& prefix : page->prefixes) {
    xml.Open("CommonPrefixes").Element("Prefix", shown(prefix)).Close();
  }
  return XmlAnswer(xml.Finish());
}

}  // namespace vmferry::region::s3
