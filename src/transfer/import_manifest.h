// SPDX-License-Identifier: Apache-2.0
//
// The import manifest: the XML list of parts and pre-signed URLs from which ImportInstance and
// ImportVolume work.
//
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/manifest.html; the behaviour of
// Amazon's tools as collected in aws-reference 1.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace vmferry::transfer {

struct ManifestPart {
  std::uint64_t start = 0;  ///< first byte within the stored file
  std::uint64_t end = 0;    ///< last byte, inclusive
  std::string key;
  std::string head_url;
  std::string get_url;
  std::string delete_url;  ///< may be empty: the schema's only optional element
};

struct ImportManifest {
  std::string file_format;  ///< RAW, VHD or VMDK
  std::string importer_name;
  std::string importer_version;
  std::string importer_release;
  std::string self_destruct_url;
  std::uint64_t size_bytes = 0;       ///< of the file as stored
  std::uint64_t volume_size_gib = 0;  ///< from the virtual size
  std::vector<ManifestPart> parts;    ///< by index
};

/// The document, version 2010-11-15.
std::string WriteManifest(const ImportManifest& manifest);

/// Reads a manifest and holds it to the schema: every element there, ranges contiguous from 0, the
/// count right, the sum equal to the size. A last range that ends at `size` instead of `size - 1`,
/// as the second official sample has it, is accepted and corrected.
///
/// Errors: kInvalidArgument manifest.malformed with the element at fault; those of text::ParseXml.
Result<ImportManifest> ParseManifest(std::string_view document);

}  // namespace vmferry::transfer
