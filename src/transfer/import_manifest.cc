// SPDX-License-Identifier: Apache-2.0
#include "transfer/import_manifest.h"

#include <fmt/format.h>

#include "base/units.h"
#include "text/xml.h"

namespace vmferry::transfer {
namespace {

constexpr std::string_view kVersion = "2010-11-15";
// 10,000 parts with three URLs of at most 2 KiB each, and room for escapes.
constexpr text::XmlLimits kLimits = {.bytes = 128U << 20, .elements = 200'000, .depth = 8};

Error Malformed(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "manifest.malformed", std::move(message))
      .WithRemedy("write the manifest anew");
}

Result<std::string> RequiredText(const text::XmlElement& parent, std::string_view path) {
  std::string value = parent.TextAt(path);
  if (!value.empty()) return value;
  return Malformed(fmt::format("the import manifest lacks {} in {}", path, parent.name));
}

Result<std::uint64_t> RequiredNumber(const text::XmlElement& parent, std::string_view path) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string value, RequiredText(parent, path));
  if (const auto number = ParseUint(value)) return *number;
  return Malformed(fmt::format("the import manifest's {} is no number", path));
}

Result<std::uint64_t> NumberAttribute(const text::XmlElement& element, std::string_view name) {
  const auto value = element.Attribute(name);
  const auto number = value ? ParseUint(*value) : std::nullopt;
  if (number) return *number;
  return Malformed(fmt::format("the import manifest's {} has no number as {}", element.name, name));
}

Result<ManifestPart> ParsePart(const text::XmlElement& element, std::uint64_t index) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t stated_index, NumberAttribute(element, "index"));
  if (stated_index != index) {
    return Malformed(
        fmt::format("the import manifest has part {} where part {} belongs", stated_index, index));
  }
  const text::XmlElement* range = element.Find("byte-range");
  if (range == nullptr) {
    return Malformed(fmt::format("part {} of the import manifest has no byte-range", index));
  }
  ManifestPart part;
  VMFERRY_ASSIGN_OR_RETURN(part.start, NumberAttribute(*range, "start"));
  VMFERRY_ASSIGN_OR_RETURN(part.end, NumberAttribute(*range, "end"));
  VMFERRY_ASSIGN_OR_RETURN(part.key, RequiredText(element, "key"));
  VMFERRY_ASSIGN_OR_RETURN(part.head_url, RequiredText(element, "head-url"));
  VMFERRY_ASSIGN_OR_RETURN(part.get_url, RequiredText(element, "get-url"));
  part.delete_url = element.TextAt("delete-url");
  return part;
}

// The ranges cover [0, size) in order, without gap or overlap.
Result<void> CheckRanges(ImportManifest& manifest) {
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < manifest.parts.size(); ++i) {
    ManifestPart& part = manifest.parts[i];
    const bool last = i + 1 == manifest.parts.size();
    if (last && part.end == manifest.size_bytes && part.end > 0) part.end -= 1;
    if (part.start != next || part.end < part.start || part.end >= manifest.size_bytes) {
      return Malformed(fmt::format(
          "part {} of the import manifest covers bytes {}-{}, but byte {} of {} is next", i,
          part.start, part.end, next, manifest.size_bytes));
    }
    next = part.end + 1;
  }
  if (next == manifest.size_bytes) return {};
  return Malformed(
      fmt::format("the import manifest's parts cover {} of {} bytes", next, manifest.size_bytes));
}

}  // namespace

std::string WriteManifest(const ImportManifest& manifest) {
  text::XmlWriter writer(/*declaration=*/true, /*indent=*/true);
  writer.Open("manifest")
      .Element("version", kVersion)
      .Element("file-format", manifest.file_format)
      .Open("importer")
      .Element("name", manifest.importer_name)
      .Element("version", manifest.importer_version)
      .Element("release", manifest.importer_release)
      .Close()
      .Element("self-destruct-url", manifest.self_destruct_url)
      .Open("import")
      .Element("size", std::to_string(manifest.size_bytes))
      .Element("volume-size", std::to_string(manifest.volume_size_gib))
      .Open("parts", {{"count", std::to_string(manifest.parts.size())}});
  for (std::size_t i = 0; i < manifest.parts.size(); ++i) {
    const ManifestPart& part = manifest.parts[i];
    writer.Open("part", {{"index", std::to_string(i)}})
        .Empty("byte-range",
               {{"end", std::to_string(part.end)}, {"start", std::to_string(part.start)}})
        .Element("key", part.key)
        .Element("head-url", part.head_url)
        .Element("get-url", part.get_url);
    if (!part.delete_url.empty()) writer.Element("delete-url", part.delete_url);
    writer.Close();
  }
  return writer.Finish();
}

Result<ImportManifest> ParseManifest(std::string_view document) {
  VMFERRY_ASSIGN_OR_RETURN(const text::XmlElement root, text::ParseXml(document, kLimits));
  if (root.name != "manifest" || root.TextAt("version") != kVersion) {
    return Malformed("the document is no import manifest of version 2010-11-15");
  }
  ImportManifest manifest;
  VMFERRY_ASSIGN_OR_RETURN(manifest.file_format, RequiredText(root, "file-format"));
  if (manifest.file_format != "RAW" && manifest.file_format != "VHD" &&
      manifest.file_format != "VMDK") {
    return Malformed(fmt::format("the import manifest names the unknown file format '{}'",
                                 manifest.file_format));
  }
  VMFERRY_ASSIGN_OR_RETURN(manifest.importer_name, RequiredText(root, "importer/name"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.importer_version, RequiredText(root, "importer/version"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.importer_release, RequiredText(root, "importer/release"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.self_destruct_url, RequiredText(root, "self-destruct-url"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.size_bytes, RequiredNumber(root, "import/size"));
  VMFERRY_ASSIGN_OR_RETURN(manifest.volume_size_gib, RequiredNumber(root, "import/volume-size"));
  const text::XmlElement* parts = root.FindPath("import/parts");
  if (parts == nullptr) return Malformed("the import manifest lacks import/parts");
  for (const text::XmlElement& element : parts->children) {
    if (element.name != "part") continue;
    VMFERRY_ASSIGN_OR_RETURN(ManifestPart part, ParsePart(element, manifest.parts.size()));
    manifest.parts.push_back(std::move(part));
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t count, NumberAttribute(*parts, "count"));
  if (count != manifest.parts.size() || count == 0) {
    return Malformed(fmt::format("the import manifest announces {} parts and lists {}", count,
                                 manifest.parts.size()));
  }
  VMFERRY_RETURN_IF_ERROR(CheckRanges(manifest));
  return manifest;
}

}  // namespace vmferry::transfer
