// SPDX-License-Identifier: Apache-2.0
#include "sigv4/chunk.h"

#include "base/byte_reader.h"
#include "codec/text_codec.h"

namespace vmferry::sigv4 {
namespace {

std::string Prefix(std::string_view kind, std::string_view amz_date, const Scope& scope,
                   std::string_view previous_signature) {
  std::string out(kAlgorithm);
  out.append(kind).append("\n").append(amz_date).append("\n").append(scope.ToString());
  out.append("\n").append(previous_signature).append("\n");
  return out;
}

}  // namespace

std::string ChunkSignature(const codec::Sha256Digest& signing_key, std::string_view amz_date,
                           const Scope& scope, std::string_view previous_signature,
                           std::span<const std::byte> chunk) {
  std::string to_sign = Prefix("-PAYLOAD", amz_date, scope, previous_signature);
  to_sign.append(kEmptyPayloadHash).append("\n").append(codec::HexEncode(codec::Sha256(chunk)));
  return Sign(signing_key, to_sign);
}

std::string TrailerSignature(const codec::Sha256Digest& signing_key, std::string_view amz_date,
                             const Scope& scope, std::string_view previous_signature,
                             std::string_view trailer) {
  std::string to_sign = Prefix("-TRAILER", amz_date, scope, previous_signature);
  to_sign.append(codec::HexEncode(codec::Sha256(AsBytes(trailer))));
  return Sign(signing_key, to_sign);
}

}  // namespace vmferry::sigv4
