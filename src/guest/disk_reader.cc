// SPDX-License-Identifier: Apache-2.0
#include "guest/disk_reader.h"

#include <algorithm>

namespace vmferry::guest {

Result<Bytes> DiskReader::Read(std::uint64_t offset_bytes, std::size_t length_bytes) {
  if (offset_bytes >= SizeBytes()) return Bytes();
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(length_bytes, SizeBytes() - offset_bytes));
  if (reads_ >= kMaxReads || length > kMaxBytes - bytes_) {
    exhausted_ = true;
    return Bytes();
  }
  ++reads_;
  bytes_ += length;
  Bytes bytes(length);
  VMFERRY_RETURN_IF_ERROR(disk_.Read(offset_bytes, bytes));
  return bytes;
}

}  // namespace vmferry::guest
