// SPDX-License-Identifier: Apache-2.0
//
// Taking blocks. Finishing is in snapshot_assemble.cc.
#include "region/vm/snapshot_upload.h"

#include <fmt/format.h>

#include <limits>

#include "base/byte_reader.h"
#include "region/vm/upload_layout.h"

namespace vmferry::region::vm {
namespace {

constexpr std::string_view kMagic = "VMFPUTS1";
constexpr std::uint64_t kVolumeBytesMax = 64 * kTiB;  // EBS: 65,536 GiB
constexpr std::size_t kPageBlocks = 4096;
constexpr std::size_t kCheckBytes = 8;

void AppendU64(std::string& out, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>((value >> shift) & 0xff);
}

// Tells a whole record from one that a crash cut short.
std::string CheckOf(std::string_view record) {
  return std::string(AsText(codec::Sha256(AsBytes(record))).substr(0, kCheckBytes));
}

Error Closed(const std::string& id) {
  return Error(ErrorCode::kFailedPrecondition, "region.wrong_state",
               fmt::format("the snapshot {} takes no more blocks", id));
}

}  // namespace

SnapshotUpload::SnapshotUpload(std::filesystem::path folder, std::string id,
                               std::uint64_t volume_bytes, sys::File raw, sys::File over,
                               sys::File puts)
    : folder_(std::move(folder)),
      id_(std::move(id)),
      volume_bytes_(volume_bytes),
      raw_(std::move(raw)),
      over_(std::move(over)),
      puts_(std::move(puts)),
      numbers_(DivCeil(DivCeil(volume_bytes, kEbsBlockBytes), kPageBlocks)) {}

Result<std::unique_ptr<SnapshotUpload>> SnapshotUpload::Create(const std::filesystem::path& folder,
                                                               const std::string& id,
                                                               std::uint64_t volume_bytes) {
  VMFERRY_CHECK(volume_bytes > 0 && volume_bytes <= kVolumeBytesMax);
  constexpr auto kMode = sys::File::Mode::kCreate;
  VMFERRY_ASSIGN_OR_RETURN(sys::File raw, sys::File::Open(folder / (id + ".raw"), kMode));
  VMFERRY_ASSIGN_OR_RETURN(sys::File over, sys::File::Open(folder / (id + ".over"), kMode));
  VMFERRY_ASSIGN_OR_RETURN(sys::File puts, sys::File::Open(folder / (id + ".puts"), kMode));
  std::string header(kMagic);
  AppendU64(header, volume_bytes);
  VMFERRY_RETURN_IF_ERROR(raw.Truncate(volume_bytes));
  VMFERRY_RETURN_IF_ERROR(puts.WriteAt(0, AsBytes(header)));
  VMFERRY_RETURN_IF_ERROR(raw.Sync());
  VMFERRY_RETURN_IF_ERROR(puts.Sync());
  VMFERRY_RETURN_IF_ERROR(sys::SyncFolder(folder));
  return std::unique_ptr<SnapshotUpload>(new SnapshotUpload(
      folder, id, volume_bytes, std::move(raw), std::move(over), std::move(puts)));
}

Result<std::unique_ptr<SnapshotUpload>> SnapshotUpload::Open(const std::filesystem::path& folder,
                                                             const std::string& id) {
  constexpr auto kMode = sys::File::Mode::kReadWrite;
  VMFERRY_ASSIGN_OR_RETURN(sys::File raw, sys::File::Open(folder / (id + ".raw"), kMode));
  VMFERRY_ASSIGN_OR_RETURN(sys::File over, sys::File::Open(folder / (id + ".over"), kMode));
  VMFERRY_ASSIGN_OR_RETURN(sys::File puts, sys::File::Open(folder / (id + ".puts"), kMode));
  std::array<std::byte, kPutsHeaderBytes> header;
  VMFERRY_RETURN_IF_ERROR(puts.ReadAt(0, header));
  ByteReader reader(header);
  const bool magic = AsText(reader.Take(kMagic.size())) == kMagic;
  const std::uint64_t volume_bytes = reader.U64Le();
  if (!magic || volume_bytes == 0 || volume_bytes > kVolumeBytesMax) {
    return Error(ErrorCode::kDataLoss, "region.snapshot_damaged",
                 fmt::format("the records of the snapshot {} are damaged", id));
  }
  std::unique_ptr<SnapshotUpload> upload(new SnapshotUpload(
      folder, id, volume_bytes, std::move(raw), std::move(over), std::move(puts)));
  VMFERRY_RETURN_IF_ERROR(upload->Replay());
  return upload;
}

void SnapshotUpload::RemoveScratch(const std::filesystem::path& folder, const std::string& id) {
  for (const std::string_view suffix : {".puts", ".over"}) {
    std::error_code ignored;  // what cannot be removed now is swept at the next start
    std::filesystem::remove(folder / (id + std::string(suffix)), ignored);
  }
}

std::string SnapshotUpload::Encode(const Record& record) {
  std::string out;
  AppendU64(out, record.index);
  AppendU64(out, record.slot);
  out += AsText(record.digest);
  return out + CheckOf(out);
}

std::optional<SnapshotUpload::Record> SnapshotUpload::Decode(std::span<const std::byte> bytes) {
  const std::string_view text = AsText(bytes);
  if (text.size() != kPutsRecordBytes) return std::nullopt;
  const std::size_t facts = text.size() - kCheckBytes;
  if (CheckOf(text.substr(0, facts)) != text.substr(facts)) return std::nullopt;
  ByteReader reader(bytes);
  Record record;
  record.index = reader.U64Le();
  record.slot = reader.U64Le();
  std::ranges::copy(reader.Take(record.digest.size()), record.digest.begin());
  return record;
}

Result<void> SnapshotUpload::Replay() {
  std::vector<std::byte> buffer(kPutsRecordBytes * 4096);
  std::set<std::uint64_t> slots;
  bool whole = true;
  while (whole) {
    const std::uint64_t at = kPutsHeaderBytes + std::uint64_t{record_count_} * kPutsRecordBytes;
    VMFERRY_ASSIGN_OR_RETURN(const std::size_t count, puts_.ReadSomeAt(at, buffer));
    whole = count == buffer.size();
    for (std::size_t start = 0; start < count; start += kPutsRecordBytes) {
      const auto record = Decode(
          std::span(buffer).subspan(start, std::min<std::size_t>(kPutsRecordBytes, count - start)));
      if (!record || record->index >= block_count()) {
        whole = false;
        break;
      }
      Remember(*record, ++record_count_);
      slot_count_ = std::max(slot_count_, record->slot);
    }
  }
  // Slots that no block's last record names may be used again.
  for (std::uint64_t index = 0; slot_count_ > 0 && index < block_count(); ++index) {
    const std::uint32_t number = NumberOf(index);
    if (number == 0) continue;
    VMFERRY_ASSIGN_OR_RETURN(const Record record, RecordNumber(number));
    if (record.slot != 0) slots.insert(record.slot);
  }
  for (std::uint64_t slot = 1; slot <= slot_count_; ++slot) {
    if (!slots.contains(slot)) free_slots_.push_back(slot);
  }
  return puts_.Truncate(kPutsHeaderBytes + std::uint64_t{record_count_} * kPutsRecordBytes);
}

std::uint64_t SnapshotUpload::written_count() const {
  const std::lock_guard lock(mutex_);
  return written_;
}

std::uint32_t SnapshotUpload::NumberOf(std::uint64_t index) const {
  const auto& page = numbers_[index / kPageBlocks];
  return page == nullptr ? 0 : page[index % kPageBlocks];
}

void SnapshotUpload::Remember(const Record& record, std::uint32_t number) {
  auto& page = numbers_[record.index / kPageBlocks];
  if (page == nullptr) page = std::make_unique<std::uint32_t[]>(kPageBlocks);
  std::uint32_t& place = page[record.index % kPageBlocks];
  if (place == 0) ++written_;
  place = number;
}

Result<SnapshotUpload::Record> SnapshotUpload::RecordNumber(std::uint32_t number) const {
  std::array<std::byte, kPutsRecordBytes> bytes;
  VMFERRY_RETURN_IF_ERROR(
      puts_.ReadAt(kPutsHeaderBytes + std::uint64_t{number - 1} * kPutsRecordBytes, bytes));
  const auto record = Decode(bytes);
  if (!record) {
    return Error(ErrorCode::kDataLoss, "region.snapshot_damaged",
                 fmt::format("record {} of the snapshot {} is damaged", number, id_));
  }
  return *record;
}

Result<void> SnapshotUpload::Put(std::uint64_t index, std::span<const std::byte> block,
                                 const codec::Sha256Digest& digest) {
  VMFERRY_CHECK(block.size() == kEbsBlockBytes);
  if (index >= block_count()) {
    return Error(
        ErrorCode::kOutOfRange, "region.block_past_end",
        fmt::format("the snapshot {} has {} blocks, none is number {}", id_, block_count(), index));
  }
  std::uint32_t before = 0;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Closed(id_);
    if (!under_way_.insert(index).second) {
      return Error(ErrorCode::kAborted, "region.block_conflict",
                   fmt::format("block {} of {} is being written", index, id_));
    }
    before = NumberOf(index);
  }
  const auto put = [&]() -> Result<void> {
    Record record{.index = index, .slot = 0, .digest = digest};
    std::uint64_t old_slot = 0;
    if (before != 0) {
      VMFERRY_ASSIGN_OR_RETURN(const Record old, RecordNumber(before));
      if (old.digest == digest) return {};
      old_slot = old.slot;
      if (old_slot == 0) {
        const std::lock_guard lock(mutex_);
        if (free_slots_.empty()) free_slots_.push_back(++slot_count_);
        record.slot = free_slots_.back();
        free_slots_.pop_back();
      }
    }
    Result<void> outcome = Write(record, block);
    if (outcome) outcome = Commit(record);
    const std::uint64_t unused = outcome ? old_slot : record.slot;
    const std::lock_guard lock(mutex_);
    if (unused != 0) free_slots_.push_back(unused);
    return outcome;
  };
  Result<void> outcome = put();
  {
    const std::lock_guard lock(mutex_);
    under_way_.erase(index);
  }
  changed_.notify_all();
  return outcome;
}

Result<void> SnapshotUpload::Write(const Record& record, std::span<const std::byte> block) {
  if (record.slot != 0) return over_.WriteAt((record.slot - 1) * kEbsBlockBytes, block);
  const std::uint64_t at = record.index * kEbsBlockBytes;
  return raw_.WriteAt(at, block.first(std::min<std::uint64_t>(block.size(), volume_bytes_ - at)));
}

// Whoever comes while nobody syncs takes all that wait along; the others wait for him.
Result<void> SnapshotUpload::Commit(const Record& record) {
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Batch> mine = batch_;
  mine->records.push_back(record);
  while (!mine->done) {
    if (syncing_) {
      changed_.wait(lock);
      continue;
    }
    syncing_ = true;
    batch_ = std::make_shared<Batch>();
    lock.unlock();
    Result<void> synced = SyncBatch(*mine);
    lock.lock();
    syncing_ = false;
    mine->done = true;
    if (!synced) {
      mine->failure = std::move(synced).error();
    } else {
      for (const Record& done : mine->records) Remember(done, ++record_count_);
    }
    changed_.notify_all();
  }
  if (mine->failure) return *mine->failure;
  return {};
}

// Called by one thread at a time: record_count_ changes only after it.
Result<void> SnapshotUpload::SyncBatch(const Batch& batch) {
  if (record_count_ > std::numeric_limits<std::uint32_t>::max() - batch.records.size()) {
    return Error(ErrorCode::kResourceExhausted, "region.too_many_puts",
                 fmt::format("the snapshot {} was written too often", id_));
  }
  bool in_place = false;
  bool replaced = false;
  std::string text;
  for (const Record& record : batch.records) {
    (record.slot == 0 ? in_place : replaced) = true;
    text += Encode(record);
  }
  if (in_place) VMFERRY_RETURN_IF_ERROR(raw_.Sync());
  if (replaced) VMFERRY_RETURN_IF_ERROR(over_.Sync());
  const std::uint64_t at = kPutsHeaderBytes + std::uint64_t{record_count_} * kPutsRecordBytes;
  Result<void> appended = puts_.WriteAt(at, AsBytes(text));
  if (appended) appended = puts_.Sync();
  // Nobody was answered: no later start may find these records.
  if (!appended) (void)puts_.Truncate(at);
  return appended;
}

void SnapshotUpload::Close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  changed_.wait(lock, [this] { return under_way_.empty(); });
}

void SnapshotUpload::Reopen() {
  const std::lock_guard lock(mutex_);
  closed_ = false;
}

}  // namespace vmferry::region::vm
