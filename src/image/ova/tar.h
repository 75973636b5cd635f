// SPDX-License-Identifier: Apache-2.0
//
// The tar archive around an OVA: where each member's bytes lie. Nothing is unpacked.
//
// Read are ustar, GNU (long names, base-256 sizes) and pax headers (path, size). Members that are
// not regular files or folders are refused: an appliance has no use for links and devices.
//
// Specification: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Interchange Format"; GNU
// tar manual, "Basic Tar Format".

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "image/byte_source.h"

namespace vmferry::image::ova {

inline constexpr std::uint64_t kTarBlockBytes = 512;
/// Blocks that are headers, extensions included: an appliance has a few files. Bounds the time that
/// an archive of empty members can take.
inline constexpr std::size_t kMaxTarHeaders = 4096;
/// Regular files.
inline constexpr std::size_t kMaxTarMembers = 1024;
/// A pax header or a GNU long name: a path has at most 4 KiB.
inline constexpr std::uint64_t kMaxTarExtensionBytes = 64 * kKiB;

/// A regular file in the archive.
struct TarMember {
  std::string name;  ///< relative, without "./" and ".."
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

struct TarIndex {
  std::vector<TarMember> members;  ///< in archive order; names are unique
  std::vector<std::string> defects;
};

/// One header block in host order, each field checked by itself.
struct TarHeader {
  std::string name;
  std::uint64_t size_bytes = 0;
  char type = '0';
};

/// Reads a header block, which is not all zeros.
///
/// Errors: kDataLoss ova.tar.checksum, ova.tar.magic, ova.tar.number.
Result<TarHeader> ParseTarHeader(std::span<const std::byte, kTarBlockBytes> block);

/// What pax records say that matters here; nullopt where they say nothing.
struct PaxRecords {
  std::optional<std::string> path;
  std::optional<std::uint64_t> size_bytes;
};

/// Errors: kDataLoss ova.tar.pax; kUnimplemented ova.tar.sparse.
Result<PaxRecords> ParsePaxRecords(std::string_view text);

/// Walks the headers of the archive.
///
/// Cost:   one read for each header; memory for kMaxTarMembers names.
/// Errors: as above, and kDataLoss ova.tar.truncated, ova.tar.member_name, ova.tar.duplicate,
///         ova.tar.extension; kUnimplemented ova.tar.member_type, ova.tar.too_many; those of the
///         source.
Result<TarIndex> ReadTar(const ByteSource& source);

}  // namespace vmferry::image::ova
