// SPDX-License-Identifier: Apache-2.0
//
// ListObjectsV2.
#include <fmt/format.h>

#include "aws/core/error.h"
#include "aws/s3/client.h"
#include "base/units.h"
#include "text/xml.h"

namespace vmferry::aws::s3 {
namespace {

Result<ListPage> ReadPage(const http::Response& response) {
  const auto root = text::ParseXml(response.body);
  if (!root || root->name != "ListBucketResult") {
    return BadResponse("ListObjectsV2", "it is no ListBucketResult");
  }
  const bool encoded = root->TextAt("EncodingType") == "url";
  ListPage page;
  for (const text::XmlElement& child : root->children) {
    if (child.name != "Contents") continue;
    ListedObject object;
    // Blanks at the ends of a key are part of it: not TextAt, which drops them.
    const text::XmlElement* key = child.Find("Key");
    object.key = key == nullptr ? "" : key->text;
    if (encoded) {
      const auto decoded = http::PercentDecode(object.key, true);
      if (!decoded) return BadResponse("ListObjectsV2", "a key is not encoded as announced");
      object.key = *decoded;
    }
    const auto size = ParseUint(child.TextAt("Size"));
    if (object.key.empty() || !size) {
      return BadResponse("ListObjectsV2", "an object lacks its key or size");
    }
    object.size_bytes = *size;
    object.etag = child.TextAt("ETag");
    object.last_modified = child.TextAt("LastModified");
    page.objects.push_back(std::move(object));
  }
  if (root->TextAt("IsTruncated") == "true") {
    page.next_token = root->TextAt("NextContinuationToken");
    if (page.next_token.empty()) {
      return BadResponse("ListObjectsV2", "it is cut off without a continuation token");
    }
  }
  return page;
}

}  // namespace

Result<ListPage> Client::ListObjectsV2(const std::string& bucket, const ListOptions& options,
                                       const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(ApiCall call, MakeCall("ListObjectsV2", "GET", bucket, ""));
  std::string& query = call.request.url.query;
  query = fmt::format("list-type=2&encoding-type=url&max-keys={}", options.max_keys);
  const auto add = [&query](std::string_view name, const std::string& value) {
    if (!value.empty()) query += fmt::format("&{}={}", name, http::PercentEncode(value));
  };
  add("prefix", options.prefix);
  add("start-after", options.start_after);
  add("continuation-token", options.token);
  ListPage page;
  call.check = [&page](const http::Response& response) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(page, ReadPage(response));
    return {};
  };
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("bucket", bucket);
  return page;
}

Result<void> Client::ForEachObject(const std::string& bucket, const std::string& prefix,
                                   const std::function<Result<void>(const ListedObject&)>& visit,
                                   const OpContext& context) {
  ListOptions options{.prefix = prefix};
  do {
    VMFERRY_ASSIGN_OR_RETURN(const ListPage page, ListObjectsV2(bucket, options, context));
    for (const ListedObject& object : page.objects) VMFERRY_RETURN_IF_ERROR(visit(object));
    if (!page.next_token.empty() && page.next_token == options.token) {
      return BadResponse("ListObjectsV2", "it names the same page again");
    }
    options.token = page.next_token;
  } while (!options.token.empty());
  return {};
}

}  // namespace vmferry::aws::s3
