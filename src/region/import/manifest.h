// SPDX-License-Identifier: Apache-2.0
//
// The import manifest as the import service reads it: written by strangers, in several dialects.
//
// Source: Amazon's VM import manifest schema, version 2010-11-15.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vmferry::region {

/// Value of `file-format`, and of Format in the API. Stored in the database: never renumber.
enum class ImageFormat : std::uint8_t {
  kRaw = 0,
  kVmdk = 1,
  kVhd = 2,
  kVhdx = 3,  ///< ImportImage and ImportSnapshot only
  kOva = 4,   ///< ImportImage only
};
/// "RAW", "VMDK", "VHD", "VHDX", "OVA".
std::string_view ImageFormatName(ImageFormat format);
/// The formats of manifests: RAW, VMDK, VHD. Any case.
/// Errors: kInvalidArgument region.bad_image_format.
Result<ImageFormat> ParseImageFormat(std::string_view name);
/// Any of the formats, in any case; nothing for other words.
std::optional<ImageFormat> FindImageFormat(std::string_view name);

struct ManifestPart {
  std::uint64_t index = 0;
  std::uint64_t start_bytes = 0;   ///< of the part within the file
  std::uint64_t length_bytes = 0;  ///< > 0
  std::string key;
  std::string get_url;
};

struct Manifest {
  ImageFormat format = ImageFormat::kRaw;
  std::uint64_t size_bytes = 0;  ///< of the file as stored
  std::uint64_t volume_gib = 0;
  /// Without gaps and overlaps, in the order of the file, from 0 to size_bytes.
  std::vector<ManifestPart> parts;
};

inline constexpr std::size_t kManifestBytesMax = 64U << 20;  // 10,000 parts with long URLs: 20 MiB

/// Reads a manifest. Lenient: accepts what AWS was observed to accept (a last byte-range whose end
/// is the size, a wrong count, absent delete-url and importer). Strict: what the schema says.
/// Errors: kInvalidArgument region.bad_manifest, with the fault in the message.
Result<Manifest> ParseManifest(std::string_view document, bool strict);

}  // namespace vmferry::region
