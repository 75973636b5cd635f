// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/marker.h"

#include "base/byte_reader.h"
#include "base/check.h"

namespace vmferry::image::vmdk {

GrainMarker ParseGrainMarker(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  GrainMarker marker;
  marker.guest_sector = reader.U64Le();
  marker.compressed_bytes = reader.U32Le();
  VMFERRY_CHECK(!reader.failed());
  return marker;
}

MetadataMarker ParseMetadataMarker(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  MetadataMarker marker;
  marker.sectors = reader.U64Le();
  marker.size = reader.U32Le();
  marker.kind = reader.U32Le();
  VMFERRY_CHECK(!reader.failed());
  return marker;
}

}  // namespace vmferry::image::vmdk
