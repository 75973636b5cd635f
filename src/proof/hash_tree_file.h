// SPDX-License-Identifier: Apache-2.0
//
// The file of a hash tree: the root and the leaves of one disk, so that a copy of the disk, shipped
// on a drive say, can be proven later without the original.
//
// It is one JSON document, schema vmferry.hash-tree/1: a head with sizes, counts and the root on
// the first line, then a line for each blob of 4,096 leaves that are not all zero, then "]}". So it
// is written and read a line at a time; 64 MiB of leaves for a TiB of data make 86 MiB of file. A
// file that some program has laid out anew is read all the same up to 16 MiB.
//
// The file comes from outside. What is read is checked against its own root; that the root is the
// right one is for whoever compares it with a trusted copy.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "proof/hash_disk.h"

namespace vmferry::proof {

inline constexpr std::string_view kHashTreeSchema = "vmferry.hash-tree/1";
/// Larger disks than any format holds (VHDX ends at 64 TiB); keeps all arithmetic far from its
/// end.
inline constexpr std::uint64_t kMaxTreeDiskBytes = std::uint64_t{1} << 56;

struct HashTree {
  std::string source;  ///< the disk's file name, for people
  std::string format;  ///< what it was stored in: "vmdk streamOptimized"
  std::uint64_t virtual_size_bytes = 0;
  DiskHash hash;

  bool operator==(const HashTree&) const = default;
};

/// The volume that a disk needs: its size in whole GiB, and 1 GiB at least.
std::uint64_t VolumeBytesOf(std::uint64_t virtual_size_bytes);

/// Writes beside `path`, syncs, and renames. Errors: io.*; on error there is no new file.
Result<void> WriteHashTree(const std::filesystem::path& path, const HashTree& tree);

/// Errors: io.*; kDataLoss hashtree.malformed, hashtree.root_mismatch; kUnimplemented
///         hashtree.schema.
Result<HashTree> ReadHashTree(const std::filesystem::path& path);

/// Reads up to out.size() bytes at an offset of the file; fewer only at its end.
using ReadSome =
    std::function<Result<std::size_t>(std::uint64_t offset_bytes, std::span<std::byte> out)>;

/// ReadHashTree for a file that `read_some` delivers.
///
/// Cost: memory of the leaves, which is less than the file's size, and of a line (256 KiB).
Result<HashTree> ParseHashTree(const ReadSome& read_some);

/// The lines of the file, each with its newline, handed to `write` one after the other.
Result<void> PrintHashTree(const HashTree& tree,
                           const std::function<Result<void>(std::string_view)>& write);

}  // namespace vmferry::proof
