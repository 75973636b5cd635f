// SPDX-License-Identifier: Apache-2.0
#include "region/import/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/units.h"
#include "http/message.h"
#include "text/xml.h"

namespace vmferry::region {
namespace {

// EBS: 64 TiB volumes; no file of an importable disk is larger.
constexpr std::uint64_t kSizeMax = 64 * kTiB;

Error Bad(std::string fault) {
  return Error(ErrorCode::kInvalidArgument, "region.bad_manifest", std::move(fault));
}

Result<std::uint64_t> NumberAt(const text::XmlElement& element, std::string_view path) {
  const std::string text = element.TextAt(path);
  const std::optional<std::uint64_t> number = ParseUint(text);
  if (!number || *number > kSizeMax) {
    return Bad(fmt::format("{} is not a usable number: '{}'", path, text.substr(0, 40)));
  }
  return *number;
}

Result<std::uint64_t> AttributeNumber(const text::XmlElement& element, std::string_view name) {
  const std::string_view text = element.Attribute(name).value_or("");
  const std::optional<std::uint64_t> number = ParseUint(text::Trim(text));
  if (!number || *number > kSizeMax) {
    return Bad(fmt::format("{} of {} is not a usable number: '{}'", name, element.name,
                           text.substr(0, 40)));
  }
  return *number;
}

Result<ManifestPart> ParsePart(const text::XmlElement& element, std::uint64_t size_bytes,
                               bool strict) {
  ManifestPart part;
  VMFERRY_ASSIGN_OR_RETURN(part.index, AttributeNumber(element, "index"));
  const text::XmlElement* range = element.Find("byte-range");
  if (range == nullptr) return Bad(fmt::format("part {} has no byte-range", part.index));
  VMFERRY_ASSIGN_OR_RETURN(part.start_bytes, AttributeNumber(*range, "start"));
  VMFERRY_ASSIGN_OR_RETURN(std::uint64_t end, AttributeNumber(*range, "end"));
  // Amazon's own single-part sample and other writers end the last range with the size.
  if (!strict && end == size_bytes && end > part.start_bytes) --end;
  if (end < part.start_bytes || end >= size_bytes) {
    return Bad(fmt::format("part {} covers bytes {} to {} of {}", part.index, part.start_bytes, end,
                           size_bytes));
  }
  part.length_bytes = end - part.start_bytes + 1;
  part.key = element.TextAt("key");
  part.get_url = element.TextAt("get-url");
  if (part.get_url.empty()) return Bad(fmt::format("part {} has no get-url", part.index));
  if (strict && (part.key.empty() || element.TextAt("head-url").empty())) {
    return Bad(fmt::format("part {} has no key or no head-url", part.index));
  }
  return part;
}

// Amazon's schema says no more of the parts' order than that they have an index.
Result<void> CheckCoverage(const Manifest& manifest) {
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < manifest.parts.size(); ++i) {
    const ManifestPart& part = manifest.parts[i];
    if (i > 0 && part.index == manifest.parts[i - 1].index) {
      return Bad(fmt::format("there are two parts with index {}", part.index));
    }
    if (part.start_bytes != covered) {
      return Bad(fmt::format("part {} starts at byte {}, the parts before it end at {}", part.index,
                             part.start_bytes, covered));
    }
    covered += part.length_bytes;
  }
  if (covered != manifest.size_bytes) {
    return Bad(fmt::format("the parts cover {} bytes of {}", covered, manifest.size_bytes));
  }
  return {};
}

Result<void> CheckStrictly(const text::XmlElement& root, const text::XmlElement& parts) {
  if (root.TextAt("version") != "2010-11-15") return Bad("version is not 2010-11-15");
  for (const char* path :
       {"importer/name", "importer/version", "importer/release", "self-destruct-url"}) {
    if (root.TextAt(path).empty()) return Bad(fmt::format("{} is missing", path));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t count, AttributeNumber(parts, "count"));
  if (count != parts.children.size()) {
    return Bad(fmt::format("count says {} parts, there are {}", count, parts.children.size()));
  }
  return {};
}

}  // namespace

std::string_view ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kRaw:
      return "RAW";
    case ImageFormat::kVmdk:
      return "VMDK";
    case ImageFormat::kVhd:
      return "VHD";
    case ImageFormat::kVhdx:
      return "VHDX";
    case ImageFormat::kOva:
      return "OVA";
  }
  return "";
}

std::optional<ImageFormat> FindImageFormat(std::string_view name) {
  for (const ImageFormat format : {ImageFormat::kRaw, ImageFormat::kVmdk, ImageFormat::kVhd,
                                   ImageFormat::kVhdx, ImageFormat::kOva}) {
    if (http::EqualsIgnoreCase(name, ImageFormatName(format))) return format;
  }
  return std::nullopt;
}

Result<ImageFormat> ParseImageFormat(std::string_view name) {
  const std::optional<ImageFormat> format = FindImageFormat(name);
  if (format && *format != ImageFormat::kVhdx && *format != ImageFormat::kOva) return *format;
  return Error(ErrorCode::kInvalidArgument, "region.bad_image_format",
               fmt::format("'{}' is not an image format", name.substr(0, 40)));
}

Result<Manifest> ParseManifest(std::string_view document, bool strict) {
  auto parsed = text::ParseXml(document, {.bytes = kManifestBytesMax, .depth = 16});
  if (!parsed) return Bad(parsed.error().message());
  const text::XmlElement& root = *parsed;
  if (root.name != "manifest") return Bad(fmt::format("the root element is {}", root.name));
  const text::XmlElement* parts = root.FindPath("import/parts");
  if (parts == nullptr) return Bad("import/parts is missing");
  Manifest manifest;
  auto format = ParseImageFormat(root.TextAt("file-format"));
  if (!format) return Bad("file-format: " + format.error().message());
  manifest.format = *format;
  VMFERRY_ASSIGN_OR_RETURN(manifest.size_bytes, NumberAt(root, "import/size"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.volume_gib, NumberAt(root, "import/volume-size"));
  if (manifest.size_bytes == 0) return Bad("import/size is 0");
  if (strict) VMFERRY_RETURN_IF_ERROR(CheckStrictly(root, *parts));
  for (const text::XmlElement& element : parts->children) {
    if (element.name != "part") return Bad(fmt::format("parts contains {}", element.name));
    VMFERRY_ASSIGN_OR_RETURN(ManifestPart part, ParsePart(element, manifest.size_bytes, strict));
    manifest.parts.push_back(std::move(part));
  }
  std::stable_sort(manifest.parts.begin(), manifest.parts.end(),
                   [](const ManifestPart& a, const ManifestPart& b) { return a.index < b.index; });
  VMFERRY_RETURN_IF_ERROR(CheckCoverage(manifest));
  return manifest;
}

}  // namespace vmferry::region
