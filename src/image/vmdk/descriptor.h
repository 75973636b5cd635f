// SPDX-License-Identifier: Apache-2.0
//
// The text descriptor of a VMDK: what kind of disk it is, its extents, its parent and its database.
//
// The text is tokenised; a line that is not understood is an error, never skipped. No file that it
// names is ever opened from here.
//
// Specification: VMware "Virtual Disk Format 5.0", section "The Descriptor File".

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vmferry::image::vmdk {

/// More than any writer makes; bounds memory for a descriptor of 1 MiB.
inline constexpr std::size_t kMaxDescriptorLines = 4096;

/// RW 4192256 SPARSE "disk.vmdk"
struct ExtentLine {
  std::string access;  ///< RW, RDONLY or NOACCESS
  std::uint64_t sectors = 0;
  std::string type;
  std::string file_name;             ///< empty when there is none
  std::uint64_t offset_sectors = 0;  ///< into the file
  bool has_device = false;           ///< something stands behind the offset
};

struct Descriptor {
  std::string create_type;
  std::string content_id;         ///< CID
  std::string parent_content_id;  ///< parentCID; "ffffffff" when there is no parent
  std::string parent_hint;        ///< parentFileNameHint
  std::string encoding;           ///< of names and comments: "UTF-8", "windows-1252"
  std::vector<ExtentLine> extents;
  /// All other keys with their values in order, ddb.* among them.
  std::vector<std::pair<std::string, std::string>> entries;

  /// The value of that key in `entries`, or an empty string.
  std::string_view Entry(std::string_view key) const;
};

/// Reads a descriptor; text behind the first NUL is padding.
///
/// Errors: kDataLoss vmdk.descriptor.signature, .too_long, .syntax, .duplicate.
Result<Descriptor> ParseDescriptor(std::string_view text);

/// True when the text begins as a descriptor does.
bool LooksLikeDescriptor(std::string_view text);

/// A content id in one spelling: eight lower-case hexadecimal digits. Writers leave out zeros in
/// front.
///
/// Errors: kDataLoss vmdk.descriptor.content_id.
Result<std::string> NormalContentId(std::string_view id);

/// Does the disk stand on a parent?
///
/// Errors: kDataLoss vmdk.descriptor.content_id; kUnimplemented vmdk.descriptor.has_parent when it
///         names a parent and says that it has none.
Result<bool> HasParent(const Descriptor& descriptor);

/// Holds the descriptor inside a sparse file to what such a disk may say: that it is monolithic
/// sparse or stream-optimised, and that its only extent is the file itself.
///
/// Errors: kUnimplemented vmdk.descriptor.create_type; kDataLoss vmdk.descriptor.bad_extent.
Result<void> CheckEmbedded(const Descriptor& descriptor, std::uint64_t capacity_sectors,
                           std::uint64_t grain_sectors);

/// Holds a descriptor that is a file of its own to what is read: its type, and each extent by
/// itself.
///
/// Errors: kUnimplemented vmdk.descriptor.create_type, .extent_type, .no_access; kDataLoss
///         vmdk.descriptor.bad_extent, .capacity.
Result<void> CheckSeparate(const Descriptor& descriptor);

/// Sectors of all extents. Pre: CheckSeparate.
std::uint64_t TotalSectors(const Descriptor& descriptor);

/// Text in windows-1252 as UTF-8.
std::string FromWindows1252(std::string_view text);

}  // namespace vmferry::image::vmdk
