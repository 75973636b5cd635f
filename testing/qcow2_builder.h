// SPDX-License-Identifier: Apache-2.0
//
// Qcow2Builder: makes QCOW2 files byte by byte, right ones and, by changing the fields before or
// the bytes after, wrong ones. Written from QEMU's docs/interop/qcow2.txt, not from the reader
// under test. Refcounts are exact: qemu-img check finds nothing.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vmferry::testing {

struct Qcow2Builder {
  enum class Kind {
    kPlain,
    kCompressed,  ///< deflate, or a zstd frame of raw blocks
    kZero,        ///< without a place
    kZeroPlaced,  ///< reads as zeros although it has a place
  };
  struct Cluster {
    Kind kind = Kind::kPlain;
    std::vector<std::byte> data;  ///< as long as a cluster; empty for kZero
    /// With extended L2 entries, of a plain one: which subclusters are there, which are zero.
    std::uint32_t allocated = 0xffffffff;
    std::uint32_t zero = 0;
  };
  struct Extension {
    std::uint32_t kind = 0;
    std::string data;
  };
  struct Snapshot {
    std::string id;
    std::string name;
  };

  std::uint32_t version = 3;
  std::uint32_t cluster_bits = 12;
  std::uint64_t size_bytes = std::uint64_t{1} << 20;
  std::uint64_t incompatible = 0;
  std::uint64_t compatible = 0;
  std::uint64_t autoclear = 0;
  std::uint32_t header_bytes = 112;
  std::uint8_t compression = 0;  ///< 1: zstd; set incompatible bit 3, too
  std::string backing_name;
  std::vector<Extension> extensions;
  std::vector<Snapshot> snapshots;
  std::map<std::uint64_t, Cluster> clusters;  ///< by guest cluster

  /// An extension that names feature bits: (kind, bit) and name.
  static Extension FeatureNames(
      const std::vector<std::pair<std::pair<std::uint8_t, std::uint8_t>, std::string>>& names);

  std::vector<std::byte> Build() const;
  /// What the guest sees, where there is no backing file.
  std::vector<std::byte> Guest() const;

  /// Where things came to be in the file that Build last made: byte offsets.
  struct Places {
    std::uint64_t extensions = 0;
    std::uint64_t l1 = 0;
    std::map<std::uint64_t, std::uint64_t> tables;   ///< L2 tables, by L1 index
    std::map<std::uint64_t, std::uint64_t> entries;  ///< L2 entries, by guest cluster
    std::map<std::uint64_t, std::uint64_t> data;     ///< by guest cluster
    std::uint64_t snapshots = 0;
    std::uint64_t refcount_table = 0;
  };
  mutable Places places;
};

/// Overwrites or reads a big-endian number in `bytes`.
void PokeU32Be(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint32_t value);
void PokeU64Be(std::vector<std::byte>& bytes, std::uint64_t offset, std::uint64_t value);
std::uint64_t PeekU64Be(const std::vector<std::byte>& bytes, std::uint64_t offset);

}  // namespace vmferry::testing
