// SPDX-License-Identifier: Apache-2.0
//
// CompressedReader: reads runs of compressed clusters. What lies side by side in the file is read
// together and inflated straight into the caller's memory.
//
// Thread safety: const methods may be called from any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "image/byte_source.h"
#include "image/qcow2/cluster.h"
#include "image/qcow2/cluster_tables.h"
#include "image/qcow2/header.h"

namespace vmferry::image::qcow2 {

class CompressedReader {
 public:
  /// `source` must live longer.
  CompressedReader(const ByteSource& source, const Header& header);
  ~CompressedReader();

  /// True when the file can have the data that a compressed entry names.
  bool CanHold(std::uint64_t entry) const;

  /// Reads the guest bytes from `offset_bytes` on, all of them in compressed clusters that `slice`
  /// maps and CanHold said yes to.
  ///
  /// Cost:   up to 512 KiB are read at once; one cluster of scratch for what is not whole.
  /// Errors: kDataLoss qcow2.cluster.inflate, qcow2.cluster.length; those of the source.
  Result<void> Read(const L2Slice& slice, std::uint64_t offset_bytes,
                    std::span<std::byte> out) const;

 private:
  class Scratch;

  CompressedRange RangeOf(const L2Slice& slice, std::uint64_t cluster_index) const;
  std::uint64_t PlanBatch(const L2Slice& slice, std::uint64_t first, std::uint64_t end) const;
  Result<void> ReadInto(const L2Slice& slice, std::uint64_t offset_bytes, std::span<std::byte> out,
                        Scratch& scratch) const;
  Result<void> ReadCluster(std::uint64_t cluster_index, std::span<const std::byte> stored,
                           std::uint64_t offset_bytes, std::span<std::byte> out,
                           Scratch& scratch) const;
  Result<void> Inflate(std::uint64_t cluster_index, std::span<const std::byte> stored,
                       std::span<std::byte> out, Scratch& scratch) const;

  const ByteSource& source_;
  const Header header_;
  mutable Mutex mutex_;
  /// Not in use. As many as threads read at the same time, at most kMaxIdle.
  mutable std::vector<std::unique_ptr<Scratch>> idle_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::image::qcow2
