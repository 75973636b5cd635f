// SPDX-License-Identifier: Apache-2.0
//
// The first structures of a VHDX: the file type identifier and the two headers, of which the one
// with the higher sequence number counts.
//
// Source: [MS-VHDX] 2.2.1 and 2.2.2.

#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "image/byte_source.h"
#include "image/vhdx/guid.h"

namespace vmferry::image::vhdx {

/// Identifier, headers and region tables; nothing else may lie there.
inline constexpr std::uint64_t kHeaderSectionBytes = kMiB;
/// Of everything in the file: [MS-VHDX] 2.1 aligns all large structures to it.
inline constexpr std::uint64_t kAlignmentBytes = kMiB;

struct Header {
  std::uint64_t sequence = 0;
  Guid file_write_guid;
  Guid data_write_guid;
  Guid log_guid;  ///< zero when the log is empty
  std::uint16_t log_version = 0;
  std::uint16_t version = 0;
  std::uint32_t log_length_bytes = 0;
  std::uint64_t log_offset_bytes = 0;
};

struct HeaderSection {
  std::string creator;   ///< UTF-8; empty when it is none
  Header header;         ///< the current one
  int damaged_copy = 0;  ///< 1 or 2: that header is damaged; 0: both are whole
};

/// Computes the CRC32C of a structure whose checksum stands in its bytes 4 to 7, and compares.
/// The checksum's bytes are zero afterwards.
bool ChecksumHolds(std::span<std::byte> structure);

/// Errors: kInvalidArgument vhdx.header.magic; kDataLoss vhdx.header.truncated,
///         vhdx.header.damaged (both), vhdx.header.ambiguous, vhdx.log.place;
///         kUnimplemented vhdx.header.version; those of the source.
Result<HeaderSection> ReadHeaderSection(const ByteSource& source);

}  // namespace vmferry::image::vhdx
