// SPDX-License-Identifier: Apache-2.0
//
// VhdxBuilder: makes VHDXs byte by byte: those qemu-img cannot write (differencing ones, sectors of
// 4096 bytes, logs that were left behind), and wrong ones. Written from [MS-VHDX], not from the
// reader under test.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vmferry::testing {

/// A file that is mostly not there: bytes by offset, zero in between.
struct SparseFile {
  std::map<std::uint64_t, std::vector<std::byte>> pieces;  // none overlap
  std::uint64_t size_bytes = 0;

  std::vector<std::byte> Flatten() const;
  /// False when the system refuses.
  bool Write(const std::filesystem::path& path) const;
};

struct VhdxBuilder {
  enum State { kNotPresent, kUndefined, kZero, kUnmapped, kInvalid, kAnchored, kFull, kPartial };

  struct Block {
    State state = kFull;
    std::vector<std::byte> bytes;  ///< as long as a block, or shorter: the rest is zero
    /// Of a partial one: the sectors that are here, by their number in the block.
    std::vector<std::uint64_t> sectors;
  };
  struct Item {
    std::string guid;
    std::vector<std::byte> bytes;
    std::uint32_t flags = 4;
  };
  struct RegionEntry {
    std::string guid;
    std::uint64_t offset_bytes = 0;
    std::uint32_t length_bytes = 0;
    std::uint32_t required = 1;
  };
  struct LogWrite {
    std::uint64_t offset_bytes = 0;
    std::vector<std::byte> data;  ///< 4096 bytes; empty for a zero descriptor
    std::uint64_t zero_length_bytes = 0;
  };
  struct LogEntry {
    std::vector<LogWrite> writes;
    std::uint64_t sequence = 0;
    bool torn = false;            ///< its last sector never reached the disk
    std::int64_t tail_entry = 0;  ///< which entry its tail names; -1: the one itself
  };

  std::string creator = "vmferry tests";
  std::array<std::uint64_t, 2> header_sequences = {6, 7};
  std::string data_write_guid = "11111111-2222-3333-4444-555555555555";
  std::uint64_t size_bytes = 4 << 20;
  std::uint32_t block_bytes = 1 << 20;
  std::uint32_t logical_sector_bytes = 512;
  std::uint32_t physical_sector_bytes = 4096;
  std::uint32_t parameter_flags = 0;  ///< 1: leave blocks allocated (fixed); 2: has a parent
  std::string page_83 = "cab1e000-0001-0002-0003-0123456789ab";
  std::map<std::uint64_t, Block> blocks;
  /// Keys and values of the parent locator, ASCII; none: no locator.
  std::vector<std::pair<std::string, std::string>> locator;
  std::vector<Item> more_items;
  std::vector<RegionEntry> more_regions;

  std::string log_guid;  ///< empty: the log is empty
  std::uint32_t log_bytes = 1 << 20;
  std::uint64_t log_start_bytes = 0;  ///< where in the log the first entry begins
  std::vector<LogEntry> log;
  std::uint64_t flushed_file_bytes = 0;  ///< 0: the file's size
  std::uint64_t last_file_bytes = 0;     ///< 0: the file's size

  SparseFile BuildSparse() const;
  std::vector<std::byte> Build() const { return BuildSparse().Flatten(); }

  std::uint64_t ChunkRatio() const {
    return (std::uint64_t{1} << 23) * logical_sector_bytes / block_bytes;
  }
  /// Where the entry of a block stands in the file. Good after Build.
  std::uint64_t BatEntryOffset(std::uint64_t block) const {
    return places.bat + (block + block / ChunkRatio()) * 8;
  }
  std::uint64_t BitmapEntryOffset(std::uint64_t chunk) const {
    return places.bat + (chunk * (ChunkRatio() + 1) + ChunkRatio()) * 8;
  }

  /// Where things came to be in the file that was built last: byte offsets.
  struct Places {
    std::uint64_t log = 1 << 20;
    std::uint64_t metadata = 0;
    std::uint64_t bat = 0;
    std::map<std::uint64_t, std::uint64_t> blocks;
    std::map<std::uint64_t, std::uint64_t> bitmaps;  ///< by chunk
    std::map<std::string, std::uint64_t> items;      ///< of the file, by GUID
    std::vector<std::uint64_t> log_entries;
  };
  mutable Places places;
};

inline constexpr std::uint64_t kVhdxHeader1 = 64 << 10;
inline constexpr std::uint64_t kVhdxHeader2 = 128 << 10;
inline constexpr std::uint64_t kVhdxRegions1 = 192 << 10;
inline constexpr std::uint64_t kVhdxRegions2 = 256 << 10;

/// The 16 bytes of a GUID as VHDX stores them.
std::vector<std::byte> VhdxGuid(std::string_view text);
/// Makes the checksum of a structure of `length` bytes at `at` right again.
void SumVhdx(std::vector<std::byte>& bytes, std::uint64_t at, std::uint64_t length);

}  // namespace vmferry::testing
