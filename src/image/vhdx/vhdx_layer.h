// SPDX-License-Identifier: Apache-2.0
//
// VhdxLayer: the guest bytes that one VHDX file holds itself, without its parent.
//
// Thread safety: const methods may be called from any thread.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "image/byte_source.h"
#include "image/layer.h"
#include "image/table_cache.h"
#include "image/vhdx/bat.h"

namespace vmferry::image::vhdx {

/// A part of a sector bitmap: bit n of byte m stands for sector 8 * m + n; 1: it is in this file.
using BitmapPage = std::vector<std::uint8_t>;

/// Errors of its methods: those of Bat::CheckBlock and Bat::CheckBitmap, kDataLoss
/// vhdx.bitmap.missing; those of the source.
class VhdxLayer final : public Layer {
 public:
  /// Pre: `bat` was made from `*source`.
  VhdxLayer(std::unique_ptr<ByteSource> source, std::unique_ptr<Bat> bat);

  std::uint64_t SizeBytes() const override { return geometry_.size_bytes; }
  Result<LayerRun> RunAt(std::uint64_t offset_bytes, std::uint64_t limit_bytes) const override;
  Result<void> ReadRun(const LayerRun& run, std::span<std::byte> out) const override;

 private:
  /// A look at the entries of neighbouring blocks, which keeps the page they are in.
  class Cursor;

  Result<LayerRun> PartialRunAt(BatEntry entry, std::uint64_t offset_bytes,
                                std::uint64_t end_bytes) const;
  Result<std::shared_ptr<const BitmapPage>> BitmapOf(std::uint64_t chunk,
                                                     std::uint64_t page_in_chunk) const;

  const std::unique_ptr<ByteSource> source_;
  const std::unique_ptr<Bat> bat_;  // refers to *source_
  const BatGeometry& geometry_;
  const TableCache<BitmapPage> bitmaps_;
};

}  // namespace vmferry::image::vhdx
