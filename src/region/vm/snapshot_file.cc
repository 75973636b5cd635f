// SPDX-License-Identifier: Apache-2.0
#include "region/vm/snapshot_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/byte_reader.h"

namespace vmferry::region::vm {
namespace {

constexpr std::string_view kMagic = "VMFSNAP1";
constexpr std::uint64_t kHeaderBytes = 24;
constexpr std::uint64_t kRankStep = 4096;
constexpr std::uint64_t kVolumeBytesMax = 64 * kTiB;  // EBS: 65,536 GiB

void AppendU64(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>((value >> shift) & 0xff);
}

Error Damaged(const std::filesystem::path& path, std::string_view why) {
  return Error(ErrorCode::kDataLoss, "region.snapshot_damaged",
               fmt::format("the snapshot file {} is damaged: {}", path.string(), why))
      .With("path", path.string());
}

std::filesystem::path Path(const std::filesystem::path& folder, const std::string& id,
                           std::string_view suffix) {
  return folder / (id + std::string(suffix));
}

std::uint64_t CountBits(std::span<const std::uint8_t> bits) {
  std::uint64_t count = 0;
  for (const std::uint8_t byte : bits) count += static_cast<unsigned>(std::popcount(byte));
  return count;
}

bool AllZero(std::span<const std::byte> data) {
  return std::all_of(data.begin(), data.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Digest of a block; a block of zeroes, frequent in preallocated disks, is known beforehand.
codec::Sha256Digest LeafOf(std::span<const std::byte> block) {
  static const codec::Sha256Digest zero_leaf =
      codec::Sha256(std::vector<std::byte>(kEbsBlockBytes));
  return AllZero(block) ? zero_leaf : codec::Sha256(block);
}

}  // namespace

void BlockMap::Mark(std::uint64_t start_bytes, std::uint64_t length_bytes) {
  if (length_bytes == 0 || start_bytes >= volume_bytes_) return;
  const std::uint64_t end = std::min(volume_bytes_ - start_bytes, length_bytes) + start_bytes;
  for (std::uint64_t index = start_bytes / kEbsBlockBytes; index * kEbsBlockBytes < end; ++index) {
    bits_[index / 8] = static_cast<std::uint8_t>(bits_[index / 8] | (1U << (index % 8)));
  }
}

std::optional<std::uint64_t> BlockMap::Next(std::uint64_t index) const {
  while (index < block_count()) {
    if (index % 8 == 0 && bits_[index / 8] == 0) {
      index += 8;
    } else if (Written(index)) {
      return index;
    } else {
      ++index;
    }
  }
  return std::nullopt;
}

std::uint64_t BlockMap::CountWritten() const { return CountBits(bits_); }

void BlockMap::Add(const BlockMap& parent) {
  for (auto index = parent.Next(0); index; index = parent.Next(*index + 1)) {
    Mark(*index * kEbsBlockBytes, kEbsBlockBytes);
  }
}

SnapshotFile::SnapshotFile(BlockMap map, sys::File raw, sys::File leaves)
    : map_(std::move(map)), raw_(std::move(raw)), leaves_(std::move(leaves)) {
  const std::span<const std::uint8_t> bits(map_.bits());
  constexpr std::size_t kStepBytes = kRankStep / 8;
  for (std::size_t start = 0; start < bits.size(); start += kStepBytes) {
    written_before_.push_back(written_count_);
    written_count_ += CountBits(bits.subspan(start, std::min(kStepBytes, bits.size() - start)));
  }
}

Result<SnapshotFile> SnapshotFile::Open(const std::filesystem::path& folder,
                                        const std::string& id) {
  const std::filesystem::path blocks_path = Path(folder, id, ".blocks");
  VMFERRY_ASSIGN_OR_RETURN(const std::string blocks,
                           sys::ReadWholeFile(blocks_path, kVolumeBytesMax / kEbsBlockBytes));
  ByteReader reader(AsBytes(blocks));
  const bool magic = AsText(reader.Take(kMagic.size())) == kMagic;
  const std::uint64_t volume_bytes = reader.U64Le();
  const std::uint64_t written = reader.U64Le();
  if (!magic || reader.failed() || volume_bytes > kVolumeBytesMax) {
    return Damaged(blocks_path, "its header is wrong");
  }
  BlockMap map(volume_bytes);
  if (blocks.size() != kHeaderBytes + map.bits_.size()) return Damaged(blocks_path, "its length");
  std::transform(blocks.begin() + kHeaderBytes, blocks.end(), map.bits_.begin(),
                 [](char c) { return static_cast<std::uint8_t>(c); });
  VMFERRY_ASSIGN_OR_RETURN(sys::File raw,
                           sys::File::Open(Path(folder, id, ".raw"), sys::File::Mode::kRead));
  VMFERRY_ASSIGN_OR_RETURN(sys::File leaves,
                           sys::File::Open(Path(folder, id, ".leaves"), sys::File::Mode::kRead));
  SnapshotFile snapshot(std::move(map), std::move(raw), std::move(leaves));
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t leaves_bytes, snapshot.leaves_.Size());
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t raw_bytes, snapshot.raw_.Size());
  if (snapshot.written_count_ != written || leaves_bytes != written * 32 ||
      raw_bytes != volume_bytes) {
    return Damaged(blocks_path, "it contradicts the raw file or the digests");
  }
  return snapshot;
}

Result<void> SnapshotFile::Seal(
    const std::filesystem::path& folder, const std::string& id, const BlockMap& map,
    const std::function<Result<codec::Sha256Digest>(std::uint64_t)>& leaf, std::stop_token stop,
    const std::function<void(int)>& progress) {
  const std::uint64_t written = map.CountWritten();
  VMFERRY_ASSIGN_OR_RETURN(const sys::File leaves,
                           sys::File::Open(Path(folder, id, ".leaves"), sys::File::Mode::kCreate));
  VMFERRY_RETURN_IF_ERROR(leaves.Truncate(0));
  std::string digests;  // not yet in the file
  std::uint64_t done = 0;
  const auto flush = [&]() -> Result<void> {
    const std::uint64_t at = done * codec::Sha256Digest().size() - digests.size();
    VMFERRY_RETURN_IF_ERROR(leaves.WriteAt(at, AsBytes(digests)));
    digests.clear();
    return {};
  };
  for (auto index = map.Next(0); index; index = map.Next(*index + 1)) {
    if (stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "process.stopped", "the snapshot was interrupted");
    }
    VMFERRY_ASSIGN_OR_RETURN(const codec::Sha256Digest digest, leaf(*index));
    digests += AsText(digest);
    ++done;
    if (done % 64 != 0) continue;
    VMFERRY_RETURN_IF_ERROR(flush());
    if (progress) progress(static_cast<int>(done * 100 / written));
  }
  VMFERRY_RETURN_IF_ERROR(flush());
  VMFERRY_RETURN_IF_ERROR(leaves.Sync());
  {
    VMFERRY_ASSIGN_OR_RETURN(const sys::File raw, sys::File::Open(Path(folder, id, ".raw"),
                                                                  sys::File::Mode::kReadWrite));
    VMFERRY_RETURN_IF_ERROR(raw.Sync());
  }
  std::string blocks(kMagic);
  AppendU64(blocks, map.volume_bytes());
  AppendU64(blocks, written);
  for (const std::uint8_t byte : map.bits()) blocks += static_cast<char>(byte);
  return sys::WriteWholeFile(Path(folder, id, ".blocks"), blocks);
}

Result<void> SnapshotFile::Complete(const std::filesystem::path& folder, const std::string& id,
                                    const BlockMap& map, std::stop_token stop,
                                    const std::function<void(int)>& progress) {
  VMFERRY_ASSIGN_OR_RETURN(const sys::File raw,
                           sys::File::Open(Path(folder, id, ".raw"), sys::File::Mode::kRead));
  std::vector<std::byte> block(kEbsBlockBytes);
  const auto leaf = [&](std::uint64_t index) -> Result<codec::Sha256Digest> {
    VMFERRY_ASSIGN_OR_RETURN(const std::size_t count,
                             raw.ReadSomeAt(index * kEbsBlockBytes, block));
    std::fill(block.begin() + static_cast<std::ptrdiff_t>(count), block.end(), std::byte{0});
    return LeafOf(block);
  };
  return Seal(folder, id, map, leaf, stop, progress);
}

void SnapshotFile::Remove(const std::filesystem::path& folder, const std::string& id) {
  for (const std::string_view suffix : {".blocks", ".leaves", ".raw"}) {
    std::error_code ignored;  // what cannot be removed now is swept at the next start
    std::filesystem::remove(Path(folder, id, suffix), ignored);
  }
}

Result<void> SnapshotFile::Read(std::uint64_t index, std::span<std::byte> out) const {
  VMFERRY_CHECK(map_.Written(index) && out.size() == kEbsBlockBytes);
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t count, raw_.ReadSomeAt(index * kEbsBlockBytes, out));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(count), out.end(), std::byte{0});
  return {};
}

std::uint64_t SnapshotFile::RankOf(std::uint64_t index) const {
  std::uint64_t rank = written_before_[index / kRankStep];
  for (std::uint64_t i = index / kRankStep * kRankStep; i < index; ++i) {
    rank += map_.Written(i) ? 1U : 0U;
  }
  return rank;
}

Result<codec::Sha256Digest> SnapshotFile::Leaf(std::uint64_t index) const {
  VMFERRY_CHECK(map_.Written(index));
  codec::Sha256Digest leaf;
  VMFERRY_RETURN_IF_ERROR(leaves_.ReadAt(RankOf(index) * leaf.size(), leaf));
  return leaf;
}

Result<codec::Sha256Digest> LeafReader::At(std::uint64_t index) {
  constexpr std::size_t kReadAhead = 4096;  // digests: 128 KiB
  const BlockMap& map = snapshot_.map_;
  VMFERRY_CHECK(map.Written(index) && (!placed_ || index >= index_));
  if (!placed_) {
    rank_ = snapshot_.RankOf(index);
  } else {
    for (auto at = index_; at < index; at = map.Next(at + 1).value_or(index)) ++rank_;
  }
  placed_ = true;
  index_ = index;
  codec::Sha256Digest leaf;
  const std::uint64_t end = buffer_rank_ + buffer_.size() / leaf.size();
  if (rank_ < buffer_rank_ || rank_ >= end) {
    const std::uint64_t left = snapshot_.written_count_ - rank_;
    buffer_.resize(std::min<std::uint64_t>(left, kReadAhead) * leaf.size());
    buffer_rank_ = rank_;
    VMFERRY_RETURN_IF_ERROR(snapshot_.leaves_.ReadAt(rank_ * leaf.size(), buffer_));
  }
  std::copy_n(buffer_.begin() + static_cast<std::ptrdiff_t>((rank_ - buffer_rank_) * leaf.size()),
              leaf.size(), leaf.begin());
  return leaf;
}

}  // namespace vmferry::region::vm
