// SPDX-License-Identifier: Apache-2.0
#include "transfer/s3_parts.h"

#include <algorithm>

#include "base/units.h"
#include "codec/digest.h"
#include "codec/text_codec.h"

namespace vmferry::transfer {

Result<std::string> S3PartsTarget::Put(const Piece& piece, std::span<const std::byte> data,
                                       std::uint32_t crc32c, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(
      aws::s3::PutResult stored,
      s3_.PutObject(bucket_, key_of_(piece.number), data, {.crc32c = crc32c}, context));
  return std::move(stored.etag);
}

Result<std::vector<HeldPiece>> S3PartsTarget::Held(const OpContext& context) {
  std::vector<HeldPiece> held;
  VMFERRY_RETURN_IF_ERROR(s3_.ForEachObject(
      bucket_, prefix_,
      [&](const aws::s3::ListedObject& object) -> Result<void> {
        const std::size_t digits = object.key.find_last_not_of("0123456789") + 1;
        const auto number = ParseUint(std::string_view(object.key).substr(digits));
        if (number && key_of_(*number) == object.key) {
          held.push_back({.number = *number, .length_bytes = object.size_bytes});
        }
        return {};
      },
      context));
  std::sort(held.begin(), held.end(),
            [](const HeldPiece& a, const HeldPiece& b) { return a.number < b.number; });
  return held;
}

Result<bool> S3PartsTarget::Holds(const Piece& piece, std::uint32_t crc32c,
                                  const OpContext& context) {
  const auto info = s3_.HeadObject(bucket_, key_of_(piece.number), context);
  if (!info) {
    if (info.error().code() == ErrorCode::kNotFound) return false;
    return info.error();
  }
  return info->size_bytes == piece.length_bytes &&
         info->checksum_crc32c == codec::Base64Encode(codec::CrcBytes(crc32c));
}

}  // namespace vmferry::transfer
