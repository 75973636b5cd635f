// SPDX-License-Identifier: Apache-2.0
//
// DiskImage: read access to the guest-visible bytes of one virtual disk, whatever its file format.
//
// A format adapter (raw, vmdk, vhd, vhdx, qcow2, nbd) turns container structures into this view.
// Callers never see grains, clusters or blocks. Nothing here writes to the source. Opening is
// image/open.h; formats that differ from a parent stand on image/layer.h.
//
// Thread safety: const methods of one DiskImage may run concurrently from any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace vmferry::image {

/// Allocation state of a run of guest bytes. Values are stored in the state database: never
/// renumber.
enum class ExtentKind : std::uint8_t {
  kData = 0,  ///< Bytes must be read from the source.
  kZero = 1,  ///< Explicitly zero. Reads as zeros and must read as zeros at the target.
  kHole = 2,  ///< Never allocated. Reads as zeros; skipping it is the transfer planner's decision.
};

/// A maximal run of guest bytes of one kind. Half-open: starts at offset_bytes.
struct Extent {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< > 0 in every list this module returns.
  ExtentKind kind = ExtentKind::kData;

  bool operator==(const Extent&) const = default;
};

/// DiskImage::Extents ends its list after so many (1.5 MiB), give or take a cluster table's worth.
inline constexpr std::size_t kExtentsMax = 65536;

/// A disk further down a chain: what a difference is a difference to.
struct ChainLink {
  std::string path;
  std::string format;
  std::string subformat;
  std::uint64_t virtual_size_bytes = 0;

  bool operator==(const ChainLink&) const = default;
};

/// What a disk image says about itself.
struct DiskImageInfo {
  std::string format;     ///< "raw", "vmdk", "vhd", "vhdx", "qcow2", "nbd"
  std::string subformat;  ///< "streamOptimized"; empty when the format has no variants
  /// By what a child recognises this disk as its parent: VMDK's content id, VHD's and VHDX's
  /// GUIDs; in lower case. Empty when the format has nothing of the kind.
  std::string identity;
  /// The chain below this disk, the parent first. Empty when it has no parent.
  std::vector<ChainLink> chain;
  /// What the EC2 import API calls the stored file: "RAW", "VMDK"; empty when it may not be sent
  /// as it is stored.
  std::string wire_format;
  std::uint64_t virtual_size_bytes = 0;
  std::uint64_t stored_size_bytes = 0;
  /// Bytes the guest sees that the source stores; 0 when opening does not find it out.
  std::uint64_t allocated_size_bytes = 0;
  std::string creator;  ///< the program that wrote it, when the format says so
  /// Facts for people, in order: ("grain size", "64 KiB").
  std::vector<std::pair<std::string, std::string>> details;
  /// What is wrong with it but does not prevent reading, one sentence each.
  std::vector<std::string> defects;
};

class DiskImage {
 public:
  virtual ~DiskImage() = default;

  /// Guest capacity.
  virtual std::uint64_t SizeBytes() const = 0;

  /// Reads guest bytes into `out`.
  ///
  /// Shape:  fills all of `out`; covers [offset_bytes, offset_bytes + out.size()).
  /// Units:  bytes; any alignment.
  /// Cost:   about one source read per run of neighbouring data; scratch of a few grains.
  /// Errors: kOutOfRange  image.read_past_end  the range leaves the disk (caller bug);
  ///         kDataLoss    <format>.*           a structure on the path contradicts another;
  ///         kUnavailable io.read_failed       the source could not be read.
  ///         On error the content of `out` is unspecified.
  virtual Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const = 0;

  /// What kinds of bytes the range holds.
  ///
  /// Shape:  ordered, neighbours differ in kind; begins at offset_bytes and covers length_bytes of
  ///         the disk, or less when that takes more than about kExtentsMax extents: ask again
  ///         behind the last one (WholeExtents does). Empty for an empty range only.
  /// Cost:   O(extents) time and memory: a stranger's table may make every sector an extent.
  /// Errors: as Read.
  virtual Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                              std::uint64_t length_bytes) const = 0;

  virtual const DiskImageInfo& Info() const = 0;
};

}  // namespace vmferry::image
