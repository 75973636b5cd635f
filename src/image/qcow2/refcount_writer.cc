// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/refcount_writer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/byte_writer.h"

namespace vmferry::image::qcow2 {

RefcountWriter::RefcountWriter() {
  for (auto& block : counts_) block.resize(kCountsPerBlock);
}

void RefcountWriter::Add(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  const std::uint64_t end = DivCeil(offset_bytes + length_bytes, kWrittenClusterBytes);
  for (std::uint64_t cluster = offset_bytes / kWrittenClusterBytes; cluster < end; ++cluster) {
    const std::uint64_t block = cluster / kCountsPerBlock;
    VMFERRY_CHECK(block >= oldest_ && block - oldest_ < counts_.size());
    std::uint16_t& count = counts_[block - oldest_][cluster % kCountsPerBlock];
    // A stream of deflate data has some 70 bytes at least: fewer than 1,000 share a cluster.
    VMFERRY_CHECK(count < std::numeric_limits<std::uint16_t>::max());
    ++count;
  }
}

std::vector<std::byte> RefcountWriter::TakeBlock() {
  std::vector<std::byte> bytes(kWrittenClusterBytes);
  ByteWriter writer(bytes);
  for (const std::uint16_t count : counts_[0]) writer.U16Be(count);
  std::swap(counts_[0], counts_[1]);
  std::fill(counts_[1].begin(), counts_[1].end(), std::uint16_t{0});
  ++oldest_;
  return bytes;
}

}  // namespace vmferry::image::qcow2
