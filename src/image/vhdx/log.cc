// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "image/vhdx/damage.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::string_view kEntrySignature = "loge";
constexpr std::string_view kZeroSignature = "zero";
constexpr std::string_view kDataSignature = "desc";
constexpr std::string_view kSectorSignature = "data";
constexpr std::uint64_t kEntryHeaderBytes = 64;
constexpr std::uint64_t kDescriptorBytes = 32;
/// No write of a log may end behind it: more than any file has.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 62;
/// All entries that may begin somewhere are checksummed; in a log as it should be they hardly
/// overlap. A hostile one could make that cost the square of its length.
constexpr std::uint64_t kMaxChecksumRounds = 8;
/// The same for following sequences from every place: an entry of a sound log is visited a few
/// times.
constexpr std::uint64_t kMaxVisitRounds = 16;

constexpr std::string_view kReplayRemedy =
    "attach the disk once on its Hyper-V host (Mount-VHD, Dismount-VHD), which replays the log, "
    "and "
    "copy it again";

using Sector = std::array<std::byte, kLogSectorBytes>;

struct Entry {
  std::uint64_t offset_bytes = 0;  ///< in the log
  std::uint64_t length_bytes = 0;
  std::uint64_t tail_bytes = 0;
  std::uint64_t sequence = 0;
  std::uint64_t descriptor_count = 0;
  std::uint64_t flushed_file_bytes = 0;
  std::uint64_t last_file_bytes = 0;
  std::uint32_t checksum = 0;

  /// The header and the descriptors; the data sectors follow.
  std::uint64_t DescriptorsEnd() const {
    return DivCeil(kEntryHeaderBytes + descriptor_count * kDescriptorBytes, kLogSectorBytes) *
           kLogSectorBytes;
  }
};

class Log {
 public:
  Log(const ByteSource& source, const Header& header)
      : source_(source), header_(header), slots_(header.log_length_bytes / kLogSectorBytes) {}

  Result<Replay> Run();

 private:
  /// What is known about the entry that may begin at a sector of the log.
  struct Slot {
    bool looked_at = false;
    bool dead = false;  ///< no active sequence begins here
    std::optional<Entry> entry;
  };

  /// Entries one behind the other, by their place in the ring.
  struct Sequence {
    std::uint64_t first_bytes = 0;
    std::uint64_t count = 0;
    std::uint64_t length_bytes = 0;
    Entry head;
  };

  std::uint64_t length_bytes() const { return header_.log_length_bytes; }
  std::uint64_t Wrap(std::uint64_t bytes) const { return bytes % length_bytes(); }
  Result<void> ReadSector(std::uint64_t log_bytes, Sector& sector) const {
    return source_.ReadAt(header_.log_offset_bytes + Wrap(log_bytes), sector);
  }

  Result<const Slot*> Look(std::uint64_t log_bytes);
  Result<std::optional<Entry>> ReadEntry(std::uint64_t log_bytes);
  std::optional<Entry> ParseEntry(const Sector& sector, std::uint64_t log_bytes);
  Result<bool> ChecksumIsRight(const Entry& entry, Sector first);
  Result<bool> ReadWrites(const Entry& entry, std::vector<LoggedWrite>* writes) const;
  Result<bool> SectorBelongs(const Entry& entry, std::uint64_t log_bytes) const;
  Result<Sequence> Walk(std::uint64_t first_bytes);
  Result<bool> Holds(const Sequence& sequence, std::uint64_t entry_bytes);
  Result<void> CountVisit();
  Result<std::optional<Sequence>> FindActive();
  Result<Replay> Replayed(const Sequence& active) const;

  const ByteSource& source_;
  const Header& header_;
  std::vector<Slot> slots_;
  std::uint64_t checksummed_bytes_ = 0;
  std::uint64_t visits_ = 0;
  bool saw_entry_ = false;  ///< something with this log's GUID, whole or not
};

/// [MS-VHDX] 2.3.1.1: an entry's header, as far as it can be judged alone.
std::optional<Entry> Log::ParseEntry(const Sector& sector, std::uint64_t log_bytes) {
  ByteReader reader(sector);
  if (AsText(reader.Take(4)) != kEntrySignature) return std::nullopt;
  Entry entry;
  entry.offset_bytes = log_bytes;
  entry.checksum = reader.U32Le();
  entry.length_bytes = reader.U32Le();
  entry.tail_bytes = reader.U32Le();
  entry.sequence = reader.U64Le();
  entry.descriptor_count = reader.U32Le();
  reader.Skip(4);
  if (ReadGuid(reader) != header_.log_guid) return std::nullopt;
  saw_entry_ = true;
  entry.flushed_file_bytes = reader.U64Le();
  entry.last_file_bytes = reader.U64Le();
  const bool possible = entry.length_bytes > 0 && entry.length_bytes <= length_bytes() &&
                        entry.length_bytes % kLogSectorBytes == 0 &&
                        entry.tail_bytes < length_bytes() &&
                        entry.tail_bytes % kLogSectorBytes == 0 && entry.sequence > 0 &&
                        entry.DescriptorsEnd() <= entry.length_bytes;
  return possible ? std::optional(entry) : std::nullopt;
}

Result<bool> Log::ChecksumIsRight(const Entry& entry, Sector first) {
  checksummed_bytes_ += entry.length_bytes;
  if (checksummed_bytes_ > kMaxChecksumRounds * length_bytes()) {
    return Damage("vhdx.log.damaged", "the entries of the VHDX's log overlap each other");
  }
  std::fill_n(first.begin() + 4, 4, std::byte{0});
  std::uint32_t checksum = codec::Crc32c(first);
  Sector sector;
  for (std::uint64_t at = kLogSectorBytes; at < entry.length_bytes; at += kLogSectorBytes) {
    VMFERRY_RETURN_IF_ERROR(ReadSector(entry.offset_bytes + at, sector));
    checksum = codec::Crc32c(sector, checksum);
  }
  return checksum == entry.checksum;
}

/// [MS-VHDX] 2.3.1.4: a data sector repeats the sequence number of its entry.
Result<bool> Log::SectorBelongs(const Entry& entry, std::uint64_t log_bytes) const {
  Sector sector;
  VMFERRY_RETURN_IF_ERROR(ReadSector(log_bytes, sector));
  ByteReader reader(sector);
  if (AsText(reader.Take(4)) != kSectorSignature) return false;
  const std::uint64_t high = reader.U32Le();
  reader.Skip(kLogSectorBytes - 12);
  return (high << 32 | reader.U32Le()) == entry.sequence;
}

/// Reads the descriptors; false when one of them, or a data sector, cannot be right.
Result<bool> Log::ReadWrites(const Entry& entry, std::vector<LoggedWrite>* writes) const {
  std::uint64_t data_bytes = entry.DescriptorsEnd();  // of the next data sector, in the entry
  Sector sector;
  for (std::uint64_t i = 0; i < entry.descriptor_count; ++i) {
    const std::uint64_t at = kEntryHeaderBytes + i * kDescriptorBytes;
    if (i == 0 || at % kLogSectorBytes == 0) {
      VMFERRY_RETURN_IF_ERROR(
          ReadSector(entry.offset_bytes + at / kLogSectorBytes * kLogSectorBytes, sector));
    }
    ByteReader reader{std::span(sector).subspan(at % kLogSectorBytes, kDescriptorBytes)};
    const std::string_view signature = AsText(reader.Take(4));
    LoggedWrite write;
    write.zero = signature == kZeroSignature;
    if (!write.zero && signature != kDataSignature) return false;
    write.trailing = reader.U32Le();
    write.leading = reader.U64Le();
    write.length_bytes = write.zero ? write.leading : kLogSectorBytes;
    write.offset_bytes = reader.U64Le();
    // [MS-VHDX] 2.3.1.2 and 2.3.1.3: multiples of 4 KiB, and the entry's sequence number.
    const bool right = reader.U64Le() == entry.sequence &&
                       write.offset_bytes % kLogSectorBytes == 0 &&
                       write.length_bytes % kLogSectorBytes == 0 &&
                       write.offset_bytes <= kMaxFileBytes && write.length_bytes <= kMaxFileBytes;
    if (!right) return false;
    if (!write.zero) {
      if (data_bytes >= entry.length_bytes) return false;
      VMFERRY_ASSIGN_OR_RETURN(const bool belongs,
                               SectorBelongs(entry, entry.offset_bytes + data_bytes));
      if (!belongs) return false;
      write.place_bytes = header_.log_offset_bytes + Wrap(entry.offset_bytes + data_bytes) + 8;
      data_bytes += kLogSectorBytes;
    }
    if (writes != nullptr && write.length_bytes > 0) writes->push_back(write);
  }
  return true;
}

Result<std::optional<Entry>> Log::ReadEntry(std::uint64_t log_bytes) {
  Sector first;
  VMFERRY_RETURN_IF_ERROR(ReadSector(log_bytes, first));
  std::optional<Entry> entry = ParseEntry(first, log_bytes);
  if (!entry) return entry;
  VMFERRY_ASSIGN_OR_RETURN(const bool whole, ChecksumIsRight(*entry, first));
  if (!whole) return std::optional<Entry>();
  VMFERRY_ASSIGN_OR_RETURN(const bool right, ReadWrites(*entry, nullptr));
  return right ? entry : std::nullopt;
}

Result<const Log::Slot*> Log::Look(std::uint64_t log_bytes) {
  Slot& slot = slots_[log_bytes / kLogSectorBytes];
  if (!slot.looked_at) {
    VMFERRY_ASSIGN_OR_RETURN(slot.entry, ReadEntry(log_bytes));
    slot.looked_at = true;
  }
  return &slot;
}

/// The longest sequence that begins there; empty when there is no entry.
Result<Log::Sequence> Log::Walk(std::uint64_t first_bytes) {
  Sequence sequence;
  sequence.first_bytes = first_bytes;
  while (sequence.length_bytes < length_bytes()) {
    VMFERRY_RETURN_IF_ERROR(CountVisit());
    VMFERRY_ASSIGN_OR_RETURN(const Slot* slot, Look(Wrap(first_bytes + sequence.length_bytes)));
    if (!slot->entry) break;
    const Entry& next = *slot->entry;
    if (sequence.count > 0 && next.sequence != sequence.head.sequence + 1) break;
    if (next.length_bytes > length_bytes() - sequence.length_bytes) break;
    sequence.head = next;
    sequence.length_bytes += next.length_bytes;
    ++sequence.count;
  }
  return sequence;
}

Result<void> Log::CountVisit() {
  if (++visits_ <= kMaxVisitRounds * slots_.size()) return {};
  return Damage("vhdx.log.damaged", "the sequences of the VHDX's log overlap each other");
}

Result<bool> Log::Holds(const Sequence& sequence, std::uint64_t entry_bytes) {
  std::uint64_t at = 0;
  while (at < sequence.length_bytes) {
    VMFERRY_RETURN_IF_ERROR(CountVisit());
    const std::uint64_t place = Wrap(sequence.first_bytes + at);
    if (place == entry_bytes) return true;
    at += slots_[place / kLogSectorBytes].entry->length_bytes;
  }
  return false;
}

/// [MS-VHDX] 2.3.3: of all sequences whose head's tail lies in them, the one with the highest
/// number.
Result<std::optional<Log::Sequence>> Log::FindActive() {
  std::optional<Sequence> best;
  std::uint64_t at = 0;
  while (at < length_bytes()) {
    if (slots_[at / kLogSectorBytes].dead) {
      at += kLogSectorBytes;
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(const Sequence sequence, Walk(at));
    bool active = false;
    if (sequence.count > 0) {
      VMFERRY_ASSIGN_OR_RETURN(active, Holds(sequence, sequence.head.tail_bytes));
    }
    if (active) {
      if (!best || sequence.head.sequence > best->head.sequence) best = sequence;
      at += sequence.length_bytes;
      continue;
    }
    // What begins further behind in it has the same head, so it is not valid either.
    for (std::uint64_t part = 0; part < sequence.length_bytes;) {
      Slot& slot = slots_[Wrap(at + part) / kLogSectorBytes];
      slot.dead = true;
      part += slot.entry->length_bytes;
    }
    at += kLogSectorBytes;
  }
  return best;
}

Result<Replay> Log::Replayed(const Sequence& active) const {
  // [MS-VHDX] 2.3.3: a file shorter than FlushedFileOffset was cut off.
  if (source_.SizeBytes() < active.head.flushed_file_bytes) {
    return Damage("vhdx.log.file_truncated",
                  fmt::format("the VHDX has {} bytes, but had {} when its log was written",
                              source_.SizeBytes(), active.head.flushed_file_bytes));
  }
  Replay replay;
  replay.file_bytes =
      std::max(source_.SizeBytes(), std::min(active.head.last_file_bytes, kMaxFileBytes));
  LoggedWrites writes;
  std::uint64_t write_count = 0;
  std::uint64_t at = active.head.tail_bytes;
  while (true) {
    const Entry& entry = *slots_[at / kLogSectorBytes].entry;
    write_count += entry.descriptor_count;
    if (write_count > kMaxLoggedWrites) {
      return Unsupported("vhdx.log.too_large",
                         fmt::format("the VHDX's log holds more than {} writes", kMaxLoggedWrites))
          .WithRemedy(kReplayRemedy);
    }
    std::vector<LoggedWrite> list;
    VMFERRY_ASSIGN_OR_RETURN(const bool right, ReadWrites(entry, &list));
    if (!right) return Damage("vhdx.log.damaged", "the VHDX's log changed while it was read");
    for (const LoggedWrite& write : list) writes.Add(write);
    ++replay.entry_count;
    if (entry.offset_bytes == active.head.offset_bytes) break;
    at = Wrap(at + entry.length_bytes);
  }
  replay.writes = writes.List();
  return replay;
}

Result<Replay> Log::Run() {
  VMFERRY_ASSIGN_OR_RETURN(const std::optional<Sequence> active, FindActive());
  if (active) return Replayed(*active);
  // A crash between the header and the first entry leaves this. Nothing was written in place then,
  // since entries come first: the file is as it should be.
  if (!saw_entry_) {
    Replay replay;
    replay.file_bytes = source_.SizeBytes();
    replay.never_written = true;
    return replay;
  }
  return Damage("vhdx.log.damaged",
                "the VHDX was not closed, and its log holds no whole sequence of entries: which "
                "writes reached their places cannot be known")
      .WithRemedy(kReplayRemedy);
}

}  // namespace

Result<Replay> ReplayLog(const ByteSource& source, const Header& header) {
  // [MS-VHDX] 2.2.2: a zero LogGuid means that the log is empty.
  if (header.log_guid.IsZero()) {
    Replay replay;
    replay.file_bytes = source.SizeBytes();
    return replay;
  }
  // [MS-VHDX] 2.2.2: a log of another version cannot be replayed.
  if (header.log_version != 0) {
    return Unsupported("vhdx.log.version",
                       fmt::format("the VHDX was not closed, and its log has version {}; 0 is read",
                                   header.log_version))
        .WithRemedy(kReplayRemedy);
  }
  if (header.log_length_bytes > kMaxLogBytes) {
    return Unsupported("vhdx.log.too_large",
                       fmt::format("the VHDX was not closed, and its log has {}; {} is the most",
                                   FormatSize(header.log_length_bytes), FormatSize(kMaxLogBytes)))
        .WithRemedy(kReplayRemedy);
  }
  return Log(source, header).Run();
}

}  // namespace vmferry::image::vhdx
