// SPDX-License-Identifier: Apache-2.0
//
// ListObjects, versions 1 and 2.
#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/s3/service.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::uint64_t kPageMax = 1000;

struct ListRequest {
  bool v2 = false;
  std::string prefix;
  std::string delimiter;
  std::string after;  ///< start-after, marker, or what the token holds
  std::uint64_t max_keys = kPageMax;
  bool url_encoding = false;
  bool fetch_owner = false;
  std::string token;
};

struct Page {
  std::vector<ObjectRecord> objects;
  std::vector<std::string> prefixes;
  bool truncated = false;
  std::string last;  ///< the last key or common prefix of the page
};

std::string QueryText(const Call& call, std::string_view name) {
  const std::string* found = call.FindQuery(name);
  return found == nullptr ? std::string() : *found;
}

MaybeFault ReadListRequest(const Call& call, ListRequest& out) {
  out.v2 = call.operation == "ListObjectsV2";
  out.prefix = QueryText(call, "prefix");
  out.delimiter = QueryText(call, "delimiter");
  out.after = QueryText(call, out.v2 ? "start-after" : "marker");
  out.token = QueryText(call, "continuation-token");
  out.fetch_owner = QueryText(call, "fetch-owner") == "true";
  const std::string encoding = QueryText(call, "encoding-type");
  if (!encoding.empty() && encoding != "url") {
    return InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type",
                           encoding);
  }
  out.url_encoding = encoding == "url";
  if (const std::string* keys = call.FindQuery("max-keys"); keys != nullptr && !keys->empty()) {
    const auto number = ParseUint(*keys);
    if (!number || *number > 2147483647) {
      return InvalidArgument("Provided max-keys not an integer or within integer range", "max-keys",
                             *keys);
    }
    out.max_keys = std::min(*number, kPageMax);
  }
  if (!out.v2 || call.FindQuery("continuation-token") == nullptr) return std::nullopt;
  const auto decoded = codec::Base64Decode(out.token);
  if (!decoded || decoded->empty()) {
    return InvalidArgument("The continuation token provided is incorrect", "continuation-token",
                           out.token);
  }
  out.after.assign(reinterpret_cast<const char*>(decoded->data()), decoded->size());
  return std::nullopt;
}

/// The common prefix that stands for the key, or "".
std::string CommonPrefix(const ListRequest& request, const std::string& key) {
  if (request.delimiter.empty()) return {};
  const std::size_t found = key.find(request.delimiter, request.prefix.size());
  return found == key.npos ? std::string() : key.substr(0, found + request.delimiter.size());
}

/// Sorts after every key that begins with `prefix`: no byte of UTF-8 is 0xff.
std::string PastPrefix(const std::string& prefix) { return prefix + '\xff'; }

Result<Page> ReadPage(Records& records, std::string_view bucket, const ListRequest& request) {
  Page page;
  std::string from = request.after;
  // A marker inside a common prefix passes over all of that prefix.
  if (const std::string common = CommonPrefix(request, from);
      !common.empty() && from.starts_with(request.prefix)) {
    from = PastPrefix(common);
  }
  std::uint64_t count = 0;
  if (request.max_keys == 0) return page;
  while (true) {
    VMFERRY_ASSIGN_OR_RETURN(
        const std::vector<ObjectRecord> batch,
        records.ListObjects(bucket, request.prefix, from, true, request.max_keys - count + 1));
    bool skipped = false;
    for (const ObjectRecord& object : batch) {
      if (count == request.max_keys) {
        page.truncated = true;
        return page;
      }
      ++count;
      const std::string common = CommonPrefix(request, object.key);
      if (common.empty()) {
        page.objects.push_back(object);
        page.last = from = object.key;
        continue;
      }
      page.prefixes.push_back(common);
      page.last = common;
      from = PastPrefix(common);
      skipped = true;  // the rest of the batch may lie below the same prefix: read anew
      break;
    }
    if (!skipped) return page;
  }
}

void WriteContents(text::XmlWriter& xml, const ListRequest& request, const ObjectRecord& object,
                   const std::string& owner) {
  const std::string key = request.url_encoding ? http::PercentEncode(object.key, true) : object.key;
  xml.Open("Contents")
      .Element("Key", key)
      .Element("LastModified", XmlTime(object.modified))
      .Element("ETag", "\"" + object.etag + "\"");
  if (!object.checksum.algorithm.empty()) {
    xml.Element("ChecksumAlgorithm", object.checksum.algorithm);
    xml.Element("ChecksumType", object.checksum.type);
  }
  xml.Element("Size", std::to_string(object.size_bytes));
  if (!request.v2 || request.fetch_owner) xml.Open("Owner").Element("ID", owner).Close();
  xml.Element("StorageClass", "STANDARD").Close();
}

}  // namespace

Outcome S3Service::ListObjects(Call& call, const Address& address) {
  ListRequest request;
  if (auto fault = ReadListRequest(call, request)) return *std::move(fault);
  auto page = ReadPage(*records_, address.bucket, request);
  if (!page) return Internal(page.error());
  const auto shown = [&](const std::string& text) {
    return request.url_encoding ? http::PercentEncode(text, true) : text;
  };
  text::XmlWriter xml;
  xml.Open("ListBucketResult", {{"xmlns", std::string(kNamespace)}});
  xml.Element("Name", address.bucket).Element("Prefix", shown(request.prefix));
  if (request.v2) {
    if (!request.token.empty()) xml.Element("ContinuationToken", request.token);
    if (page->truncated) {
      xml.Element("NextContinuationToken",
                  codec::Base64Encode(std::as_bytes(std::span(page->last))));
    }
    if (const std::string* start = call.FindQuery("start-after")) {
      xml.Element("StartAfter", shown(*start));
    }
    xml.Element("KeyCount", std::to_string(page->objects.size() + page->prefixes.size()));
  } else {
    xml.Element("Marker", shown(request.after));
    if (page->truncated && !request.delimiter.empty()) {
      xml.Element("NextMarker", shown(page->last));
    }
  }
  xml.Element("MaxKeys", std::to_string(request.max_keys));
  if (!request.delimiter.empty()) xml.Element("Delimiter", shown(request.delimiter));
  if (request.url_encoding) xml.Element("EncodingType", "url");
  xml.Element("IsTruncated", page->truncated ? "true" : "false");
  for (const ObjectRecord& object : page->objects) {
    WriteContents(xml, request, object, context_.settings.account_id);
  }
  for (const std::string& prefix : page->prefixes) {
    xml.Open("CommonPrefixes").Element("Prefix", shown(prefix)).Close();
  }
  return XmlAnswer(xml.Finish());
}

// The bucket was never versioned: each object is its own latest version, "null".
Outcome S3Service::ListObjectVersions(Call& call, const Address& address) {
  ListRequest request;
  if (auto fault = ReadListRequest(call, request)) return *std::move(fault);
  request.after = QueryText(call, "key-marker");
  auto page = ReadPage(*records_, address.bucket, request);
  if (!page) return Internal(page.error());
  const auto shown = [&](const std::string& text) {
    return request.url_encoding ? http::PercentEncode(text, true) : text;
  };
  text::XmlWriter xml;
  xml.Open("ListVersionsResult", {{"xmlns", std::string(kNamespace)}});
  xml.Element("Name", address.bucket).Element("Prefix", shown(request.prefix));
  xml.Element("KeyMarker", shown(request.after)).Element("VersionIdMarker", "");
  if (page->truncated) {
    xml.Element("NextKeyMarker", shown(page->last)).Element("NextVersionIdMarker", "null");
  }
  xml.Element("MaxKeys", std::to_string(request.max_keys));
  if (!request.delimiter.empty()) xml.Element("Delimiter", shown(request.delimiter));
  if (request.url_encoding) xml.Element("EncodingType", "url");
  xml.Element("IsTruncated", page->truncated ? "true" : "false");
  for (const ObjectRecord& object : page->objects) {
    xml.Open("Version")
        .Element("Key", shown(object.key))
        .Element("VersionId", "null")
        .Element("IsLatest", "true")
        .Element("LastModified", XmlTime(object.modified))
        .Element("ETag", "\"" + object.etag + "\"")
        .Element("Size", std::to_string(object.size_bytes));
    xml.Open("Owner").Element("ID", context_.settings.account_id).Close();
    xml.Element("StorageClass", "STANDARD").Close();
  }
  for (const std::string& prefix : page->prefixes) {
    xml.Open("CommonPrefixes").Element("Prefix", shown(prefix)).Close();
  }
  return XmlAnswer(xml.Finish());
}

}  // namespace vmferry::region::s3
