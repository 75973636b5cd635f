// SPDX-License-Identifier: Apache-2.0
//
// SnapshotUpload, second half: from acknowledged blocks to a finished snapshot.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "region/vm/snapshot_upload.h"
#include "region/vm/upload_layout.h"

namespace vmferry::region::vm {
namespace {

constexpr std::size_t kGarbageBytes = 4096;

Error Stopped(const std::string& id) {
  return Error(ErrorCode::kCancelled, "process.stopped",
               fmt::format("the finishing of {} was interrupted", id));
}

// Makes a hole; where the file system has none, writes zeroes.
Result<void> Punch(const sys::File& file, std::uint64_t start, std::uint64_t length) {
  if (::fallocate(file.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(start), static_cast<off_t>(length)) == 0) {
    return {};
  }
  if (errno != EOPNOTSUPP) return sys::ErrnoError("write", file.path(), errno);
  const std::vector<std::byte> zeroes(kEbsBlockBytes);
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t step = std::min<std::uint64_t>(zeroes.size(), length - done);
    VMFERRY_RETURN_IF_ERROR(file.WriteAt(start + done, std::span(zeroes).first(step)));
    done += step;
  }
  return {};
}

// splitmix64: the same seed gives the same garbage, so that a repeated Assemble changes nothing.
std::uint64_t NextGarbage(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
  return mixed ^ (mixed >> 31);
}

}  // namespace

Result<codec::Sha256Digest> SnapshotUpload::LinearChecksum() const {
  codec::Digester digester(codec::DigestKind::kSha256);
  for (std::uint64_t index = 0; index < block_count(); ++index) {
    std::uint32_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = NumberOf(index);
    }
    if (number == 0) continue;
    VMFERRY_ASSIGN_OR_RETURN(const Record record, RecordNumber(number));
    digester.Update(record.digest);
  }
  codec::Sha256Digest digest;
  digester.Finish(digest);
  return digest;
}

Result<BlockMap> SnapshotUpload::Assemble(const SnapshotFile* parent,
                                          std::optional<std::uint64_t> garbage_seed,
                                          std::stop_token stop,
                                          const std::function<void(int)>& progress) {
  BlockMap map(volume_bytes_);
  for (std::uint64_t index = 0; index < block_count(); ++index) {
    if (NumberOf(index) != 0) map.Mark(index * kEbsBlockBytes, kEbsBlockBytes);
  }
  VMFERRY_RETURN_IF_ERROR(CopyReplaced(map, stop));
  VMFERRY_RETURN_IF_ERROR(DropStray(map));
  if (parent != nullptr) {
    VMFERRY_RETURN_IF_ERROR(CopyParent(*parent, map, stop));
    map.Add(parent->map());
  }
  if (garbage_seed) VMFERRY_RETURN_IF_ERROR(FillGarbage(map, *garbage_seed, stop));
  const auto leaf = [&](std::uint64_t index) -> Result<codec::Sha256Digest> {
    const std::uint32_t number = NumberOf(index);
    if (number == 0) return parent->Leaf(index);
    VMFERRY_ASSIGN_OR_RETURN(const Record record, RecordNumber(number));
    return record.digest;
  };
  VMFERRY_RETURN_IF_ERROR(SnapshotFile::Seal(folder_, id_, map, leaf, stop, progress));
  return map;
}

Result<void> SnapshotUpload::CopyReplaced(const BlockMap& own, std::stop_token stop) {
  if (slot_count_ == 0) return {};
  std::vector<std::byte> block(kEbsBlockBytes);
  for (auto index = own.Next(0); index; index = own.Next(*index + 1)) {
    if (stop.stop_requested()) return Stopped(id_);
    VMFERRY_ASSIGN_OR_RETURN(const Record record, RecordNumber(NumberOf(*index)));
    if (record.slot == 0) continue;
    VMFERRY_RETURN_IF_ERROR(over_.ReadAt((record.slot - 1) * kEbsBlockBytes, block));
    if (codec::Sha256(block) != record.digest) {
      return Error(ErrorCode::kDataLoss, "region.snapshot_damaged",
                   fmt::format("block {} of {} is not what was acknowledged", *index, id_));
    }
    VMFERRY_RETURN_IF_ERROR(Write({.index = *index}, block));
  }
  return {};
}

Result<void> SnapshotUpload::DropStray(const BlockMap& own) {
  for (std::uint64_t at = 0; at < volume_bytes_;) {
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, raw_.RunAt(at));
    const std::uint64_t end =
        std::min(volume_bytes_, at + std::max<std::uint64_t>(run.length_bytes, 1));
    while (!run.hole && at < end) {
      const std::uint64_t index = at / kEbsBlockBytes;
      const std::uint64_t next = std::min(end, (index + 1) * kEbsBlockBytes);
      if (!own.Written(index)) VMFERRY_RETURN_IF_ERROR(Punch(raw_, at, next - at));
      at = next;
    }
    at = end;
  }
  return {};
}

Result<void> SnapshotUpload::CopyParent(const SnapshotFile& parent, const BlockMap& own,
                                        std::stop_token stop) {
  std::vector<std::byte> block(kEbsBlockBytes);
  for (auto index = parent.map().Next(0); index; index = parent.map().Next(*index + 1)) {
    if (stop.stop_requested()) return Stopped(id_);
    if (own.Written(*index)) continue;
    VMFERRY_RETURN_IF_ERROR(parent.Read(*index, block));
    const bool zero = std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; });
    if (!zero) VMFERRY_RETURN_IF_ERROR(Write({.index = *index}, block));
  }
  return {};
}

Result<void> SnapshotUpload::FillGarbage(const BlockMap& map, std::uint64_t seed,
                                         std::stop_token stop) {
  std::array<std::byte, kGarbageBytes> garbage;
  for (std::uint64_t index = 0; index < block_count(); ++index) {
    if (map.Written(index)) continue;
    if (index % 4096 == 0 && stop.stop_requested()) return Stopped(id_);
    std::uint64_t state = seed ^ (index << 20);
    for (std::size_t i = 0; i < garbage.size(); i += 8) {
      const std::uint64_t word = NextGarbage(state);
      for (std::size_t j = 0; j < 8; ++j) garbage[i + j] = static_cast<std::byte>(word >> (8 * j));
    }
    VMFERRY_RETURN_IF_ERROR(raw_.WriteAt(index * kEbsBlockBytes, garbage));
  }
  return {};
}

}  // namespace vmferry::region::vm
