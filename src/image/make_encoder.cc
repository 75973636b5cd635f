// SPDX-License-Identifier: Apache-2.0
#include "image/make_encoder.h"

#include <algorithm>
#include <cctype>

#include "image/ova/ova_encoder.h"
#include "image/qcow2/qcow2_encoder.h"
#include "image/raw/raw_encoder.h"
#include "image/vhd/encoder.h"
#include "image/vmdk/stream_encoder.h"

namespace vmferry::image {
namespace {

struct Entry {
  std::string_view name;
  OutputFormat format;
};
constexpr Entry kFormats[] = {
    {"raw", OutputFormat::kRaw},     {"vmdk", OutputFormat::kVmdk},
    {"vhd", OutputFormat::kVhd},     {"vhd-fixed", OutputFormat::kVhdFixed},
    {"qcow2", OutputFormat::kQcow2}, {"qcow2-compressed", OutputFormat::kQcow2Compressed},
    {"ova", OutputFormat::kOva},
};

constexpr Entry kExtensions[] = {
    {".raw", OutputFormat::kRaw},     {".img", OutputFormat::kRaw}, {".dd", OutputFormat::kRaw},
    {".vmdk", OutputFormat::kVmdk},   {".vhd", OutputFormat::kVhd}, {".vpc", OutputFormat::kVhd},
    {".qcow2", OutputFormat::kQcow2}, {".ova", OutputFormat::kOva},
};

/// What may stand between quotes in a descriptor.
std::string SafeName(const std::string& name) {
  std::string safe = name;
  for (char& c : safe) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '/' || c == '\\' || c == ':') c = '_';
  }
  return safe;
}

}  // namespace

std::vector<std::string> OutputFormatNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kFormats) names.emplace_back(entry.name);
  return names;
}

std::optional<OutputFormat> ParseOutputFormat(std::string_view name) {
  for (const Entry& entry : kFormats) {
    if (entry.name == name) return entry.format;
  }
  return std::nullopt;
}

std::optional<OutputFormat> OutputFormatOf(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const Entry& entry : kExtensions) {
    if (entry.name == extension) return entry.format;
  }
  return std::nullopt;
}

Result<std::unique_ptr<Encoder>> MakeEncoder(OutputFormat format, std::uint64_t size_bytes,
                                             const OutputOptions& options) {
  switch (format) {
    case OutputFormat::kRaw:
      return raw::MakeEncoder(size_bytes, {.find_zeros = options.find_zeros});
    case OutputFormat::kVmdk:
      return vmdk::MakeStreamEncoder(
          size_bytes, {.content_id_from_content = true, .file_name = SafeName(options.file_name)});
    case OutputFormat::kVhd:
      return vhd::MakeDynamicEncoder(size_bytes, {.unix_time_seconds = options.time_s});
    case OutputFormat::kVhdFixed:
      return vhd::MakeFixedEncoder(size_bytes, {.unix_time_seconds = options.time_s});
    case OutputFormat::kQcow2:
      return qcow2::MakePlainEncoder(size_bytes);
    case OutputFormat::kQcow2Compressed:
      return qcow2::MakeCompressedEncoder(size_bytes);
    case OutputFormat::kOva: {
      VmDescription vm = options.vm;
      if (vm.name.empty()) vm.name = std::filesystem::path(options.file_name).stem().string();
      return ova::MakeOvaEncoder(size_bytes, {.vm = std::move(vm), .modified_s = options.time_s});
    }
  }
  return Error(ErrorCode::kInternal, "image.unsupported_format", "no such output format");
}

Result<std::unique_ptr<Encoder>> MakeWireEncoder(std::uint64_t size_bytes) {
  return vmdk::MakeStreamEncoder(size_bytes);
}

}  // namespace vmferry::image
