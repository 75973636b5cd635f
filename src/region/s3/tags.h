// SPDX-License-Identifier: Apache-2.0
//
// Tags of objects and buckets: read from XML and from the header x-amz-tagging, written as XML.
//
// Thread safety: pure functions.
// Source: Amazon S3 User Guide, "Categorizing your objects using tags"; Amazon S3 API reference,
// "PutObjectTagging", "PutBucketTagging".

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "region/s3/fault.h"

namespace vmferry::region::s3 {

inline constexpr std::size_t kObjectTagsMax = 10;
inline constexpr std::size_t kBucketTagsMax = 50;

/// Reads <Tagging><TagSet>.
MaybeFault ReadTagging(std::string_view document, std::size_t most, std::vector<NameValue>& out);
/// Reads "a=b&c=d", URL-encoded.
MaybeFault ReadTagHeader(std::string_view header, std::vector<NameValue>& out);
/// Reads the header x-amz-tagging of a request; no tags when it is absent.
MaybeFault ReadTagsOf(const Call& call, std::vector<NameValue>& out);

/// <Tagging> with its namespace.
std::string TaggingXml(const std::vector<NameValue>& tags);

}  // namespace vmferry::region::s3
