// SPDX-License-Identifier: Apache-2.0
#include "testing/vhdx_builder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "testing/vhd_builder.h"

namespace vmferry::testing {
namespace {

using Bytes = std::vector<std::byte>;
constexpr std::uint64_t kMeg = 1 << 20;

void Put(Bytes& bytes, std::uint64_t at, std::uint64_t value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    bytes.at(at + i) = static_cast<std::byte>(value >> (8 * i) & 0xff);
  }
}
void PutBytes(Bytes& bytes, std::uint64_t at, const Bytes& data) {
  VMFERRY_CHECK(at + data.size() <= bytes.size());
  std::copy(data.begin(), data.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}
void PutText(Bytes& bytes, std::uint64_t at, std::string_view text) {
  PutBytes(bytes, at, PlainBytes(text));
}
std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}
Bytes Little(std::uint64_t value, std::size_t count) {
  Bytes bytes(count);
  Put(bytes, 0, value, count);
  return bytes;
}

Bytes LocatorBytes(const std::vector<std::pair<std::string, std::string>>& pairs) {
  Bytes bytes(20 + 12 * pairs.size());
  PutBytes(bytes, 0, VhdxGuid("b04aefb7-d19e-4a81-b789-25b8e9445913"));
  Put(bytes, 18, pairs.size(), 2);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const Bytes key = Utf16Le(pairs[i].first);
    const Bytes value = Utf16Le(pairs[i].second);
    const std::uint64_t at = 20 + 12 * i;
    Put(bytes, at, bytes.size(), 4);
    Put(bytes, at + 8, key.size(), 2);
    bytes.insert(bytes.end(), key.begin(), key.end());
    Put(bytes, at + 4, bytes.size(), 4);
    Put(bytes, at + 10, value.size(), 2);
    bytes.insert(bytes.end(), value.begin(), value.end());
  }
  return bytes;
}

Bytes HeaderBytes(const VhdxBuilder& builder, std::uint64_t sequence) {
  Bytes bytes(4096);
  PutText(bytes, 0, "head");
  Put(bytes, 8, sequence, 8);
  PutBytes(bytes, 16, VhdxGuid("99999999-8888-7777-6666-555555555555"));
  PutBytes(bytes, 32, VhdxGuid(builder.data_write_guid));
  if (!builder.log_guid.empty()) PutBytes(bytes, 48, VhdxGuid(builder.log_guid));
  Put(bytes, 66, 1, 2);
  Put(bytes, 68, builder.log_bytes, 4);
  Put(bytes, 72, builder.places.log, 8);
  SumVhdx(bytes, 0, bytes.size());
  return bytes;
}

Bytes RegionBytes(const VhdxBuilder& builder, std::uint64_t bat_bytes) {
  std::vector<VhdxBuilder::RegionEntry> entries = {
      {"2dc27766-f623-4200-9d64-115e9bfd4a08", builder.places.bat,
       static_cast<std::uint32_t>(bat_bytes)},
      {"8b7ca206-4790-4b9a-b8fe-575f050f886e", builder.places.metadata, kMeg}};
  entries.insert(entries.end(), builder.more_regions.begin(), builder.more_regions.end());
  Bytes bytes(64 << 10);
  PutText(bytes, 0, "regi");
  Put(bytes, 8, entries.size(), 4);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t at = 16 + 32 * i;
    PutBytes(bytes, at, VhdxGuid(entries[i].guid));
    Put(bytes, at + 16, entries[i].offset_bytes, 8);
    Put(bytes, at + 24, entries[i].length_bytes, 4);
    Put(bytes, at + 28, entries[i].required, 4);
  }
  SumVhdx(bytes, 0, bytes.size());
  return bytes;
}

Bytes MetadataBytes(const VhdxBuilder& builder) {
  Bytes parameters = Little(builder.block_bytes, 8);
  Put(parameters, 4, builder.parameter_flags, 4);
  std::vector<VhdxBuilder::Item> items = {
      {"caa16737-fa36-4d43-b3b6-33f0aa44e76b", parameters, 4},
      {"2fa54224-cd1b-4876-b211-5dbed83bf4b8", Little(builder.size_bytes, 8), 6},
      {"beca12ab-b2e6-4523-93ef-c309e000c746", VhdxGuid(builder.page_83), 6},
      {"8141bf1d-a96f-4709-ba47-f233a8faab5f", Little(builder.logical_sector_bytes, 4), 6},
      {"cda348c7-445d-4471-9cc9-e9885251c556", Little(builder.physical_sector_bytes, 4), 6}};
  if (!builder.locator.empty()) {
    items.push_back({"a8d35f2d-b30b-454d-abf7-d3d84834ab0c", LocatorBytes(builder.locator), 4});
  }
  items.insert(items.end(), builder.more_items.begin(), builder.more_items.end());
  Bytes bytes(128 << 10);
  PutText(bytes, 0, "metadata");
  Put(bytes, 10, items.size(), 2);
  std::uint64_t next = 64 << 10;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::uint64_t at = 32 + 32 * i;
    PutBytes(bytes, at, VhdxGuid(items[i].guid));
    if (!items[i].bytes.empty()) Put(bytes, at + 16, next, 4);
    Put(bytes, at + 20, items[i].bytes.size(), 4);
    Put(bytes, at + 24, items[i].flags, 4);
    PutBytes(bytes, next, items[i].bytes);
    builder.places.items[items[i].guid] = builder.places.metadata + next;
    next += items[i].bytes.size();
  }
  return bytes;
}

/// One entry as it stands in the log when nothing wraps.
Bytes EntryBytes(const VhdxBuilder& builder, const VhdxBuilder::LogEntry& entry, std::uint64_t tail,
                 std::uint64_t file_bytes) {
  std::uint64_t data_count = 0;
  for (const auto& write : entry.writes) data_count += write.data.empty() ? 0U : 1U;
  const std::uint64_t descriptors_end = RoundUp(64 + 32 * entry.writes.size(), 4096);
  Bytes bytes(descriptors_end + 4096 * data_count);
  PutText(bytes, 0, "loge");
  Put(bytes, 8, bytes.size(), 4);
  Put(bytes, 12, tail, 4);
  Put(bytes, 16, entry.sequence, 8);
  Put(bytes, 24, entry.writes.size(), 4);
  PutBytes(bytes, 32, VhdxGuid(builder.log_guid));
  Put(bytes, 48, builder.flushed_file_bytes != 0 ? builder.flushed_file_bytes : file_bytes, 8);
  Put(bytes, 56, builder.last_file_bytes != 0 ? builder.last_file_bytes : file_bytes, 8);
  std::uint64_t data_at = descriptors_end;
  for (std::size_t i = 0; i < entry.writes.size(); ++i) {
    const auto& write = entry.writes[i];
    const std::uint64_t at = 64 + 32 * i;
    Put(bytes, at + 16, write.offset_bytes, 8);
    Put(bytes, at + 24, entry.sequence, 8);
    if (write.data.empty()) {
      PutText(bytes, at, "zero");
      Put(bytes, at + 8, write.zero_length_bytes, 8);
      continue;
    }
    VMFERRY_CHECK(write.data.size() == 4096);
    PutText(bytes, at, "desc");
    std::copy_n(write.data.end() - 4, 4, bytes.begin() + static_cast<std::ptrdiff_t>(at + 4));
    std::copy_n(write.data.begin(), 8, bytes.begin() + static_cast<std::ptrdiff_t>(at + 8));
    PutBytes(bytes, data_at, write.data);
    PutText(bytes, data_at, "data");
    Put(bytes, data_at + 4, entry.sequence >> 32, 4);
    Put(bytes, data_at + 4092, entry.sequence, 4);
    data_at += 4096;
  }
  SumVhdx(bytes, 0, bytes.size());
  if (entry.torn) std::fill(bytes.end() - 4096, bytes.end(), std::byte{0});
  return bytes;
}

Bytes LogBytes(const VhdxBuilder& builder, std::uint64_t file_bytes) {
  Bytes ring(builder.log_bytes);
  std::uint64_t at = builder.log_start_bytes;
  builder.places.log_entries.clear();
  for (const VhdxBuilder::LogEntry& entry : builder.log) {
    builder.places.log_entries.push_back(at % ring.size());
    const std::uint64_t tail =
        entry.tail_entry < 0
            ? at % ring.size()
            : builder.places.log_entries.at(static_cast<std::size_t>(entry.tail_entry));
    for (const std::byte byte : EntryBytes(builder, entry, tail, file_bytes)) {
      ring[at++ % ring.size()] = byte;
    }
  }
  return ring;
}

/// Places bitmaps and blocks behind everything else, and fills in the table.
class BlockWriter {
 public:
  BlockWriter(const VhdxBuilder& builder, SparseFile& file, std::uint64_t next)
      : builder_(builder), file_(file), next_(next) {}

  void Write() {
    for (const auto& [index, block] : builder_.blocks) WriteBlock(index, block);
    for (auto& [chunk, bitmap] : bitmaps_) {
      const std::uint64_t place = Place(kMeg);
      SetEntry(builder_.BitmapEntryOffset(chunk), VhdxBuilder::kFull, place);
      builder_.places.bitmaps[chunk] = place;
      file_.pieces[place] = std::move(bitmap);
    }
    for (auto& [at, page] : table_) file_.pieces[at] = std::move(page);
    file_.size_bytes = next_;
  }

 private:
  std::uint64_t Place(std::uint64_t length) {
    const std::uint64_t place = next_;
    next_ += length;
    return place;
  }

  void SetEntry(std::uint64_t at, VhdxBuilder::State state, std::uint64_t place) {
    Bytes& page = table_.try_emplace(at / 4096 * 4096, Bytes(4096)).first->second;
    Put(page, at % 4096, static_cast<std::uint64_t>(state) | place, 8);  // MiB << 20 are bytes
  }

  void WriteBlock(std::uint64_t index, const VhdxBuilder::Block& block) {
    const bool stored = block.state == VhdxBuilder::kFull || block.state == VhdxBuilder::kPartial;
    const std::uint64_t place = stored ? Place(builder_.block_bytes) : 0;
    SetEntry(builder_.BatEntryOffset(index), block.state, place);
    if (!stored) return;
    builder_.places.blocks[index] = place;
    if (!block.bytes.empty()) file_.pieces[place] = block.bytes;
    if (block.state != VhdxBuilder::kPartial) return;
    const std::uint64_t chunk = index / builder_.ChunkRatio();
    Bytes& bitmap = bitmaps_.try_emplace(chunk, Bytes(kMeg)).first->second;
    const std::uint64_t first =
        index % builder_.ChunkRatio() * (builder_.block_bytes / builder_.logical_sector_bytes);
    for (const std::uint64_t sector : block.sectors) {
      bitmap.at((first + sector) / 8) |= static_cast<std::byte>(1U << (first + sector) % 8);
    }
  }

  const VhdxBuilder& builder_;
  SparseFile& file_;
  std::uint64_t next_;
  std::map<std::uint64_t, Bytes> bitmaps_;
  std::map<std::uint64_t, Bytes> table_;
};

}  // namespace

Bytes SparseFile::Flatten() const {
  Bytes bytes(size_bytes);
  for (const auto& [offset, piece] : pieces) PutBytes(bytes, offset, piece);
  return bytes;
}

bool SparseFile::Write(const std::filesystem::path& path) const {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  bool good = ::ftruncate(file, static_cast<::off_t>(size_bytes)) == 0;
  for (const auto& [offset, piece] : pieces) {
    good = good && ::pwrite(file, piece.data(), piece.size(), static_cast<::off_t>(offset)) ==
                       static_cast<::ssize_t>(piece.size());
  }
  return ::close(file) == 0 && good;
}

Bytes VhdxGuid(std::string_view text) {
  std::string digits(text);
  digits.erase(std::remove(digits.begin(), digits.end(), '-'), digits.end());
  Bytes bytes = codec::HexDecode(digits).value();
  std::reverse(bytes.begin(), bytes.begin() + 4);
  std::reverse(bytes.begin() + 4, bytes.begin() + 6);
  std::reverse(bytes.begin() + 6, bytes.begin() + 8);
  return bytes;
}

void SumVhdx(Bytes& bytes, std::uint64_t at, std::uint64_t length) {
  Put(bytes, at + 4, 0, 4);
  Put(bytes, at + 4, codec::Crc32c(std::span(bytes).subspan(at, length)), 4);
}

SparseFile VhdxBuilder::BuildSparse() const {
  const std::uint64_t block_count = (size_bytes + block_bytes - 1) / block_bytes;
  const std::uint64_t chunks = (block_count + ChunkRatio() - 1) / ChunkRatio();
  const std::uint64_t bat_bytes = RoundUp((block_count + chunks) * 8 + ChunkRatio() * 8, kMeg);
  places = {};
  places.metadata = places.log + log_bytes;
  places.bat = places.metadata + kMeg;

  SparseFile file;
  BlockWriter(*this, file, places.bat + bat_bytes).Write();
  Bytes identifier(520);
  PutText(identifier, 0, "vhdxfile");
  PutBytes(identifier, 8, Utf16Le(creator));
  file.pieces[0] = identifier;
  file.pieces[kVhdxHeader1] = HeaderBytes(*this, header_sequences[0]);
  file.pieces[kVhdxHeader2] = HeaderBytes(*this, header_sequences[1]);
  file.pieces[kVhdxRegions1] = RegionBytes(*this, bat_bytes);
  file.pieces[kVhdxRegions2] = RegionBytes(*this, bat_bytes);
  file.pieces[places.metadata] = MetadataBytes(*this);
  if (!log.empty()) file.pieces[places.log] = LogBytes(*this, file.size_bytes);
  return file;
}

}  // namespace vmferry::testing
