// SPDX-License-Identifier: Apache-2.0
//
// S3PartsTarget: each piece is an S3 object of its own, as import manifests want them.

#pragma once

#include <functional>
#include <string>

#include "aws/s3/client.h"
#include "transfer/target.h"

namespace vmferry::transfer {

class S3PartsTarget final : public Target {
 public:
  using KeyOf = std::function<std::string(std::uint64_t number)>;

  /// `key_of` names the object of a piece; all names begin with `prefix` and end in the number.
  S3PartsTarget(aws::s3::Client& s3, std::string bucket, std::string prefix, KeyOf key_of)
      : s3_(s3),
        bucket_(std::move(bucket)),
        prefix_(std::move(prefix)),
        key_of_(std::move(key_of)) {}

  Result<std::string> Put(const Piece& piece, std::span<const std::byte> data, std::uint32_t crc32c,
                          const OpContext& context) override;
  Result<std::vector<HeldPiece>> Held(const OpContext& context) override;
  Result<bool> Holds(const Piece& piece, std::uint32_t crc32c, const OpContext& context) override;

 private:
  aws::s3::Client& s3_;
  const std::string bucket_;
  const std::string prefix_;
  const KeyOf key_of_;
};

}  // namespace vmferry::transfer
