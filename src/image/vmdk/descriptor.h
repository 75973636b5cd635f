// SPDX-License-Identifier: Apache-2.0
//
// The text descriptor of a VMDK: what kind of disk it is, its extents and its database.
//
// The text is tokenised; a line that is not understood is an error, never skipped. No file that an
// extent names is ever opened from here.
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
  std::string access;
  std::uint64_t sectors = 0;
  std::string type;
  std::string file_name;
  bool has_offset = false;  ///< a number or device stands behind the file name
};

struct Descriptor {
  std::string create_type;
  std::string content_id;         ///< CID
  std::string parent_content_id;  ///< parentCID; "ffffffff" when there is no parent
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

/// Holds a descriptor to what a stream-optimised disk may say: that it is one, that it has no
/// parent, and that its only extent is the file itself.
///
/// Errors: kUnimplemented vmdk.descriptor.create_type, .has_parent; kDataLoss
///         vmdk.descriptor.bad_extent.
Result<void> CheckStreamOptimized(const Descriptor& descriptor, std::uint64_t capacity_sectors,
                                  std::uint64_t grain_sectors);

}  // namespace vmferry::image::vmdk
