// SPDX-License-Identifier: Apache-2.0
//
// SnapshotFile: the bytes of one completed snapshot: an immutable sparse raw file, a bitmap of the
// 512 KiB blocks that were written (written zeroes are not holes), and the SHA-256 of each of them.
//
// Files in the disks folder: ID.raw; ID.blocks: "VMFSNAP1", u64 volume size, u64 count of written
// blocks (little-endian), the bitmap, lowest block in the lowest bit; ID.leaves: 32 bytes for each
// written block in ascending order.
//
// Thread safety: immutable once open.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "codec/digest.h"
#include "sys/file.h"

namespace vmferry::region::vm {

inline constexpr std::uint64_t kEbsBlockBytes = 512 * kKiB;

/// Which blocks of a volume were written.
class BlockMap {
 public:
  explicit BlockMap(std::uint64_t volume_bytes)
      : volume_bytes_(volume_bytes), bits_(DivCeil(block_count(), 8)) {}

  std::uint64_t volume_bytes() const { return volume_bytes_; }
  std::uint64_t block_count() const { return DivCeil(volume_bytes_, kEbsBlockBytes); }
  bool Written(std::uint64_t index) const {
    return index < block_count() && ((bits_[index / 8] >> (index % 8)) & 1U) != 0;
  }
  /// Marks every block that [start, start + length) touches. Parts outside the volume are ignored.
  void Mark(std::uint64_t start_bytes, std::uint64_t length_bytes);
  /// The first written block at or after `index`.
  std::optional<std::uint64_t> Next(std::uint64_t index) const;
  std::uint64_t CountWritten() const;
  const std::vector<std::uint8_t>& bits() const { return bits_; }
  /// Adds the blocks of a parent of the same or smaller size.
  void Add(const BlockMap& parent);

 private:
  friend class SnapshotFile;
  std::uint64_t volume_bytes_;
  std::vector<std::uint8_t> bits_;
};

class SnapshotFile {
 public:
  /// Opens ID's three files. Errors: kDataLoss region.snapshot_damaged; those of sys::File.
  static Result<SnapshotFile> Open(const std::filesystem::path& folder, const std::string& id);

  /// Writes ID.leaves and ID.blocks for an ID.raw that is in place; all three are durable then.
  /// `leaf` gives the SHA-256 of each written block, in ascending order.
  static Result<void> Seal(const std::filesystem::path& folder, const std::string& id,
                           const BlockMap& map,
                           const std::function<Result<codec::Sha256Digest>(std::uint64_t)>& leaf,
                           std::stop_token stop, const std::function<void(int)>& progress);

  /// Seal with the digests computed from ID.raw.
  /// `progress` is called with 0..100.
  static Result<void> Complete(const std::filesystem::path& folder, const std::string& id,
                               const BlockMap& map, std::stop_token stop,
                               const std::function<void(int)>& progress);

  static void Remove(const std::filesystem::path& folder, const std::string& id);

  const BlockMap& map() const { return map_; }
  std::uint64_t written_count() const { return written_count_; }
  /// Fills `out` (one block). Pre: the block was written.
  Result<void> Read(std::uint64_t index, std::span<std::byte> out) const;
  /// The digest stored for a written block.
  Result<codec::Sha256Digest> Leaf(std::uint64_t index) const;

 private:
  friend class LeafReader;

  SnapshotFile(BlockMap map, sys::File raw, sys::File leaves);
  /// How many written blocks come before `index`.
  std::uint64_t RankOf(std::uint64_t index) const;

  BlockMap map_;
  sys::File raw_;
  sys::File leaves_;
  std::uint64_t written_count_ = 0;
  std::vector<std::uint64_t> written_before_;  // for every 4,096th block
};

/// Reads digests of one snapshot in ascending order of blocks, many at a time.
class LeafReader {
 public:
  /// `snapshot` outlives it.
  explicit LeafReader(const SnapshotFile& snapshot) : snapshot_(snapshot) {}
  /// The digest of a written block. Pre: written; indexes ascend from call to call.
  Result<codec::Sha256Digest> At(std::uint64_t index);

 private:
  const SnapshotFile& snapshot_;
  std::uint64_t index_ = 0;  // of the block whose digest is number rank_
  std::uint64_t rank_ = 0;
  bool placed_ = false;
  std::uint64_t buffer_rank_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace vmferry::region::vm
