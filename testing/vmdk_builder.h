// SPDX-License-Identifier: Apache-2.0
//
// VmdkBuilder: makes stream-optimised and hosted sparse VMDKs byte by byte, right ones and, by
// changing the fields before or the bytes after, wrong ones. Written from VMware's "Virtual Disk
// Format 5.0", not from the reader under test.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace vmferry::testing {

struct VmdkBuilder {
  enum class Layout {
    kDirectoryFirst,  ///< as qemu-img writes it
    kFooter,          ///< as ovftool and VirtualBox do: markers, tables behind their grains
  };

  Layout layout = Layout::kFooter;
  std::uint32_t version = 3;
  /// Without bits 16 and 17 it is a hosted sparse disk; that has a redundant directory when bit 1
  /// is set, and only the layout kDirectoryFirst.
  std::uint32_t flags = 0x30001;
  std::uint64_t capacity_sectors = 4096;
  std::uint64_t grain_sectors = 16;
  /// Guest bytes of each grain that has data, by grain index; each as long as the grain, or, for
  /// the last one, as what the disk has of it.
  std::map<std::uint64_t, std::vector<std::byte>> grains;
  /// Grains whose entry is 1 (needs flag bit 2).
  std::set<std::uint64_t> zero_grains;
  /// Instead of the usual descriptor.
  std::optional<std::string> descriptor;

  std::string DefaultDescriptor() const;
  std::vector<std::byte> Build() const;

  /// Where things came to be in the file that Build last made: byte offsets.
  struct Places {
    std::uint64_t directory = 0;
    std::uint64_t redundant_directory = 0;          ///< 0 for none
    std::vector<std::uint64_t> tables;              ///< in order of their index; 0 for none
    std::map<std::uint64_t, std::uint64_t> grains;  ///< of the marker, by grain index
    std::uint64_t footer = 0;                       ///< of the header copy; 0 for none
  };
  mutable Places places;
};

/// Overwrites a little-endian number in `bytes`.
void PokeU16(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint16_t value);
void PokeU32(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint32_t value);
void PokeU64(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value);

}  // namespace vmferry::testing
