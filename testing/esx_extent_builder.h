// SPDX-License-Identifier: Apache-2.0
//
// CowBuilder and SeSparseBuilder: make the sparse extents of ESX byte by byte; DescriptorText makes
// the descriptor that names them. COWD is written from VMware's "Virtual Disk Format 5.0", seSparse
// (which is not published) from what QEMU's block/vmdk.c states; qemu-img reads both.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace vmferry::testing {

struct CowBuilder {
  std::uint32_t flags = 3;
  std::uint32_t capacity_sectors = 4096;
  std::uint32_t grain_sectors = 1;
  /// Guest bytes of each grain that has data, by grain index; each as long as a grain.
  std::map<std::uint64_t, std::vector<std::byte>> grains;

  std::vector<std::byte> Build() const;

  /// Byte offsets in the file that Build last made.
  struct Places {
    std::uint64_t directory = 0;
    std::vector<std::uint64_t> tables;  ///< 0 for none
    std::map<std::uint64_t, std::uint64_t> grains;
  };
  mutable Places places;
};

struct SeSparseBuilder {
  std::uint64_t capacity_sectors = 32768;
  /// Guest bytes of each grain of 4 KiB that has data.
  std::map<std::uint64_t, std::vector<std::byte>> grains;
  std::set<std::uint64_t> zero_grains;
  std::set<std::uint64_t> unmapped_grains;

  std::vector<std::byte> Build() const;

  struct Places {
    std::uint64_t volatile_header = 0;
    std::uint64_t directory = 0;
    std::vector<std::uint64_t> tables;  ///< 0 for none
    std::map<std::uint64_t, std::uint64_t> grains;
  };
  mutable Places places;
};

struct DescriptorText {
  std::string create_type = "vmfs";
  std::string content_id = "12345678";
  std::string parent_content_id = "ffffffff";
  std::string parent_hint;           ///< left out when empty
  std::vector<std::string> extents;  ///< lines

  std::string Text() const;
};

}  // namespace vmferry::testing
