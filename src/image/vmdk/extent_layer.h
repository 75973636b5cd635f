// SPDX-License-Identifier: Apache-2.0
//
// The kinds of extents a VMDK is made of, each as a Layer over its own sectors, and the disk that
// they make one behind the other.
//
// Thread safety: as Layer.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/layer.h"
#include "image/vmdk/grain_map.h"

namespace vmferry::image::vmdk {

/// Grains as they are: hosted sparse, COWD and seSparse extents. Shows the first `size_bytes` of
/// the map's capacity.
std::unique_ptr<Layer> MakeSparseLayer(std::unique_ptr<GrainMap> map, std::uint64_t size_bytes);

/// Compressed grains behind markers: a stream-optimised extent.
std::unique_ptr<Layer> MakeCompressedLayer(std::unique_ptr<GrainMap> map, std::uint64_t size_bytes);

/// Checks the marker of a grain that lies at `file_offset_bytes`: reads it from there.
///
/// Errors: kDataLoss vmdk.grain.marker, .size, .truncated; those of the source.
Result<void> CheckGrainAt(const GrainMap& map, std::uint64_t grain_index,
                          std::uint64_t file_offset_bytes);

/// Guest bytes as they are. Holes of the file are `hole`: absent, or zero in a disk with a parent.
/// Pre: the range lies inside the source.
std::unique_ptr<Layer> MakeFlatLayer(std::shared_ptr<const ByteSource> source,
                                     std::uint64_t offset_bytes, std::uint64_t size_bytes,
                                     RunKind hole);

/// Nothing but zeros, in no file.
std::unique_ptr<Layer> MakeZeroLayer(std::uint64_t size_bytes);

/// Extents one behind the other. Pre: there is one at least, and none is empty.
std::unique_ptr<Layer> JoinLayers(std::vector<std::unique_ptr<Layer>> layers);

}  // namespace vmferry::image::vmdk
