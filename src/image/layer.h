// SPDX-License-Identifier: Apache-2.0
//
// Layer: one file of a disk that may stand on a parent, as its format sees it: which runs of the
// guest it holds, which it says are zero, and which it leaves to the parent.
//
// A format implements Layer and nothing else; MakeLayeredImage makes the DiskImage out of it. So
// splitting reads, joining extents and following the chain exist once, for all formats.
//
// Thread safety: const methods of a Layer may run concurrently.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/result.h"
#include "image/companions.h"
#include "image/disk_image.h"

namespace vmferry::image {

enum class RunKind {
  kData,    ///< ReadRun delivers it
  kZero,    ///< written as zero
  kAbsent,  ///< not in this layer: the parent's bytes, or a hole when there is no parent
};

/// A run of guest bytes of one kind, as far as the layer cared to look.
struct LayerRun {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;  ///< > 0
  RunKind kind = RunKind::kAbsent;
  /// What ReadRun needs to find the bytes of a data run: the format's own business.
  std::uint64_t locator = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;

  virtual std::uint64_t SizeBytes() const = 0;

  /// The run that begins at guest byte `offset_bytes`, at most `limit_bytes` long.
  ///
  /// It need not be maximal (neighbours are joined by the caller), but should be long where that
  /// is cheap: a missing table is one run, and so are neighbouring blocks that lie side by side
  /// in the file.
  /// Pre:    [offset_bytes, offset_bytes + limit_bytes) lies inside the disk; limit_bytes > 0.
  /// Errors: kDataLoss <format>.*; those of the source.
  virtual Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const = 0;

  /// Reads a data run that RunAt returned; `out` is run.length_bytes long.
  /// Errors: as RunAt.
  virtual Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const = 0;
};

/// The disk that `layer` makes, on `parent` where it has one. A parent that is shorter than the
/// disk is a hole beyond its end.
///
/// Post: its Info() is `info` with size and chain filled in.
std::unique_ptr<DiskImage> MakeLayeredImage(std::unique_ptr<Layer> layer,
                                            std::optional<ParentDisk> parent, DiskImageInfo info);

}  // namespace vmferry::image
