// SPDX-License-Identifier: Apache-2.0
//
// CompareDisks: do two disk images, whatever their formats, hold the same bytes, and where not?
//
// Reads only what at least one side stores: holes and zeros on both sides cost nothing, data
// against a hole is a test for zero. A disk that is shorter counts as zero behind its end.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "image/disk_image.h"
#include "proof/compare.h"

namespace vmferry::proof {

struct DiskComparison {
  std::uint64_t size_a_bytes = 0;
  std::uint64_t size_b_bytes = 0;
  /// Guest bytes for which at least one side had to be read.
  std::uint64_t compared_bytes = 0;
  std::uint64_t differing_bytes = 0;
  /// Where they differ, ascending and to the byte: the first kMaxDifferingRanges.
  std::vector<DifferingRange> ranges;
  bool ranges_complete = true;              ///< false when there are more than `ranges` tells
  std::uint64_t last_difference_bytes = 0;  ///< offset of the last byte that differs, if any does
  /// Bytes that are a hole on one side only, up to the end of the shorter disk, and the first of
  /// them.
  std::uint64_t differing_allocation_bytes = 0;
  std::optional<std::uint64_t> first_differing_allocation_bytes;

  /// Behind the shorter disk's end the longer one's bytes are compared with zeros.
  bool same_bytes() const { return differing_bytes == 0; }
  bool same_size() const { return size_a_bytes == size_b_bytes; }
  /// Nothing differs, allocation included.
  bool same_everything() const {
    return same_bytes() && same_size() && differing_allocation_bytes == 0;
  }
};

struct CompareDisksOptions {
  /// Reading, decoding and comparing are CPU-bound: as many as there are cores.
  unsigned threads = 2;
  /// Put to errors of either disk as the fact "path".
  std::string name_a;
  std::string name_b;
  /// Told how far the comparison has got in the longer disk; one call at a time. May be empty.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
};

/// Cost:   reads each side's data once; memory of a few MiB a thread and of the extents in a window
///         of each disk.
/// Errors: those of the disks; kCancelled proof.stopped.
Result<DiskComparison> CompareDisks(const image::DiskImage& a, const image::DiskImage& b,
                                    const CompareDisksOptions& options, const OpContext& context);

}  // namespace vmferry::proof
