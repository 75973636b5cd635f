// SPDX-License-Identifier: Apache-2.0
//
// VhdBuilder: makes VHDs byte by byte: those qemu-img cannot write (differencing ones, other
// creators, other block sizes), and wrong ones. Written from Microsoft's "Virtual Hard Disk Image
// Format Specification" 1.0, not from the reader under test.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace vmferry::testing {

struct VhdBuilder {
  enum class Kind { kFixed = 2, kDynamic = 3, kDifferencing = 4 };

  struct Locator {
    std::string platform;  ///< "W2ru"
    std::vector<std::byte> data;
  };

  Kind kind = Kind::kDynamic;
  std::uint64_t size_bytes = 4 << 20;  ///< the "current size"
  std::string creator = "win ";        ///< four characters
  std::array<std::uint16_t, 3> geometry = {120, 4, 17};
  std::uint32_t features = 2;
  std::uint32_t created_seconds = 0;
  std::uint8_t saved_state = 0;
  std::array<std::uint8_t, 16> unique_id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  std::uint64_t footer_bytes = 512;  ///< 511 in old disks

  std::vector<std::byte> fixed;  ///< a fixed disk's bytes; the rest is zero

  std::uint32_t block_bytes = 2 << 20;
  /// Guest bytes of the blocks in the file, by index; each as long as a block.
  std::map<std::uint64_t, std::vector<std::byte>> blocks;
  /// Their bitmaps, where not every sector is there.
  std::map<std::uint64_t, std::vector<std::byte>> bitmaps;

  std::array<std::uint8_t, 16> parent_id = {};
  std::string parent_name;  ///< ASCII
  std::vector<Locator> locators;

  std::vector<std::byte> Build() const;

  /// Where things came to be in the file that Build last made: byte offsets.
  struct Places {
    std::uint64_t header = 0;
    std::uint64_t table = 0;
    std::map<std::uint64_t, std::uint64_t> blocks;  ///< of the bitmap
    std::uint64_t footer = 0;
  };
  mutable Places places;
};

/// ASCII as UTF-16, little-endian, as locators have it.
std::vector<std::byte> Utf16Le(std::string_view text);
std::vector<std::byte> PlainBytes(std::string_view text);

/// Overwrites a big-endian number of `count` bytes.
void PokeBe(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value,
            std::size_t count);
/// Makes the checksums of the footer at `at` (or the dynamic header) right again.
void SumVhdFooter(std::vector<std::byte>& bytes, std::uint64_t at, std::uint64_t length = 512);
void SumVhdHeader(std::vector<std::byte>& bytes, std::uint64_t at);

}  // namespace vmferry::testing
