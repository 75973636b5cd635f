// SPDX-License-Identifier: Apache-2.0
//
// Opens one sparse file of a VMDK, whatever its layout: hosted sparse, stream-optimised, COWD or
// seSparse, told apart by their first bytes.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/layer.h"
#include "image/vmdk/grain_map.h"
#include "image/vmdk/header.h"

namespace vmferry::image::vmdk {

enum class ExtentLayout {
  kUnknown,
  kHosted,  ///< KDMV: hosted sparse or stream-optimised
  kCow,
  kSeSparse,
};

/// Reads the first bytes. Errors: those of the source.
Result<ExtentLayout> LayoutOf(const ByteSource& source);

/// What is known of an extent when it is open.
struct ExtentFacts {
  std::uint64_t capacity_sectors = 0;
  std::uint64_t grain_bytes = 0;
  /// Nothing when there are more tables than opening looks at.
  std::optional<std::uint64_t> allocated_bytes;
  std::vector<std::pair<std::string, std::string>> details;
  std::vector<std::string> defects;
};

struct SparseExtent {
  std::unique_ptr<Layer> layer;
  ExtentFacts facts;
};

/// Opens a hosted sparse or stream-optimised extent whose header was read. `sectors` is how many
/// of its capacity the disk uses, which is not more.
///
/// Errors: kDataLoss vmdk.header.file_size, .descriptor, .overhead, vmdk.footer.*,
///         vmdk.grain_directory.*, vmdk.grain_table.*, vmdk.grain.*; those of the source.
Result<SparseExtent> OpenHostedExtent(std::shared_ptr<const ByteSource> source, Header header,
                                      std::uint64_t sectors, MapResources& resources);

/// Reads the header at `offset_bytes`. Errors: vmdk.header.*; those of the source.
Result<Header> ReadHeader(const ByteSource& source, std::uint64_t offset_bytes);

/// What is wanted of an extent that a descriptor names.
struct ExtentDemand {
  ExtentLayout layout = ExtentLayout::kUnknown;
  std::uint64_t sectors = 0;
  std::string name;  ///< for messages
};

/// Opens an extent that a descriptor names.
///
/// Errors: kDataLoss vmdk.extent.layout, vmdk.extent.capacity; as OpenHostedExtent; vmdk.cow.*,
///         vmdk.se_sparse.*.
Result<SparseExtent> OpenSparseExtent(std::shared_ptr<const ByteSource> source,
                                      const ExtentDemand& demand, MapResources& resources);

}  // namespace vmferry::image::vmdk
