// SPDX-License-Identifier: Apache-2.0
#include "region/s3/tags.h"

#include <fmt/format.h>

#include <algorithm>

#include "http/message.h"
#include "region/s3/service.h"
#include "text/xml.h"

namespace vmferry::region::s3 {
namespace {

constexpr std::size_t kKeyCharactersMax = 128;
constexpr std::size_t kValueCharactersMax = 256;

std::size_t Characters(std::string_view utf8) {
  return static_cast<std::size_t>(std::ranges::count_if(
      utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

S3Fault InvalidTag(std::string_view message, std::string_view key) {
  return {400, "InvalidTag", std::string(message), {{"TagKey", std::string(key)}}};
}

MaybeFault AddTag(NameValue tag, std::size_t most, std::vector<NameValue>& out) {
  if (tag.first.empty() || Characters(tag.first) > kKeyCharactersMax) {
    return InvalidTag("The TagKey you have provided is invalid", tag.first);
  }
  if (Characters(tag.second) > kValueCharactersMax) {
    return InvalidTag("The TagValue you have provided is invalid", tag.first);
  }
  if (tag.first.starts_with("aws:")) {
    return InvalidTag("System tags cannot be added/updated by requester", tag.first);
  }
  if (std::ranges::find(out, tag.first, &NameValue::first) != out.end()) {
    return InvalidTag("Cannot provide multiple Tags with the same key", tag.first);
  }
  if (out.size() == most) {
    const std::string_view what = most == kObjectTagsMax ? "Object" : "Bucket";
    return S3Fault{
        400, "BadRequest", fmt::format("{} tags cannot be greater than {}", what, most), {}};
  }
  out.push_back(std::move(tag));
  return std::nullopt;
}

}  // namespace

MaybeFault ReadTagging(std::string_view document, std::size_t most, std::vector<NameValue>& out) {
  const auto root = text::ParseXml(document);
  if (!root || root->name != "Tagging" || root->children.size() != 1) return MalformedXml();
  const text::XmlElement& set = root->children.front();
  if (set.name != "TagSet") return MalformedXml();
  for (const text::XmlElement& tag : set.children) {
    const text::XmlElement* key = tag.Find("Key");
    const text::XmlElement* value = tag.Find("Value");
    if (tag.name != "Tag" || key == nullptr || value == nullptr || tag.children.size() != 2) {
      return MalformedXml();
    }
    if (auto fault = AddTag({key->text, value->text}, most, out)) return fault;
  }
  return std::nullopt;
}

MaybeFault ReadTagHeader(std::string_view header, std::vector<NameValue>& out) {
  const std::string_view whole = header;
  while (!header.empty()) {
    const std::string_view pair = header.substr(0, header.find('&'));
    header.remove_prefix(std::min(pair.size() + 1, header.size()));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    auto key = http::PercentDecode(pair.substr(0, equals), true);
    auto value = http::PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!key || !value || key->empty()) {
      return InvalidArgument(
          "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded "
          "URL query parameters without tag name duplicates.",
          "x-amz-tagging", whole);
    }
    if (auto fault = AddTag({*std::move(key), *std::move(value)}, kObjectTagsMax, out)) {
      return fault;
    }
  }
  return std::nullopt;
}

MaybeFault ReadTagsOf(const Call& call, std::vector<NameValue>& out) {
  const std::string* header = call.FindHeader("x-amz-tagging");
  return header == nullptr ? std::nullopt : ReadTagHeader(*header, out);
}

std::string TaggingXml(const std::vector<NameValue>& tags) {
  text::XmlWriter xml;
  xml.Open("Tagging", {{"xmlns", std::string(kNamespace)}}).Open("TagSet");
  for (const auto& [key, value] : tags) {
    xml.Open("Tag").Element("Key", key).Element("Value", value).Close();
  }
  return xml.Finish();
}

}  // namespace vmferry::region::s3
