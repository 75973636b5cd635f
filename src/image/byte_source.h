// SPDX-License-Identifier: Apache-2.0
//
// ByteSource: the stored bytes of a disk image, before any format is applied to them.
//
// A file, a part of a file (a disk inside an OVA), or memory in fuzz targets and tests. The size is
// fixed when the source is made.
//
// Thread safety: const methods may run concurrently.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "sys/file.h"

namespace vmferry::image {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  virtual std::uint64_t SizeBytes() const = 0;
  /// Fills `out`. A source that ends before is kUnavailable io.short_read.
  virtual Result<void> ReadAt(std::uint64_t offset_bytes, std::span<std::byte> out) const = 0;
  /// The stored run or hole that begins at `offset_bytes`, which lies before the end.
  virtual Result<sys::FileRun> RunAt(std::uint64_t offset_bytes) const = 0;
};

/// A regular file or block device, with the size it has now.
Result<std::unique_ptr<ByteSource>> MakeFileSource(sys::File file);

/// Bytes in memory; none of them are holes.
std::unique_ptr<ByteSource> MakeMemorySource(std::vector<std::byte> bytes);

/// The bytes [offset_bytes, offset_bytes + length_bytes) of `whole`, numbered from 0.
///
/// Shared because the disks of one appliance lie in one file.
/// Pre: the range lies inside `whole`.
std::unique_ptr<ByteSource> MakeSliceSource(std::shared_ptr<const ByteSource> whole,
                                            std::uint64_t offset_bytes, std::uint64_t length_bytes);

}  // namespace vmferry::image
