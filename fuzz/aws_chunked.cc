// SPDX-License-Identifier: Apache-2.0
//
// Bodies with Content-Encoding aws-chunked, unsigned and signed: what comes out is never longer
// than what went in, and does not depend on how the network cut it.
//
// Input: one byte for the kind (odd: signed chunks), one for the size of the pieces, then the body.
#include "region/core/aws_chunked.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/check.h"

namespace {

using namespace vmferry;
using namespace vmferry::region;

struct Outcome {
  bool good = false;
  std::string reason;
  std::string content;
  std::vector<NameValue> trailers;
  bool operator==(const Outcome&) const = default;
};

Outcome Decode(bool is_signed, std::span<const std::byte> body, std::size_t piece) {
  std::optional<ChunkSigning> signing;
  if (is_signed) {
    signing.emplace();
    signing->amz_date = "20130524T000000Z";
    signing->scope = {"20130524", "us-east-1", "s3"};
    signing->seed_signature = std::string(64, '0');
    signing->signed_trailer = true;
  }
  Outcome outcome;
  AwsChunkedDecoder decoder(signing, [&](std::span<const std::byte> data) -> Result<void> {
    outcome.content.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  });
  Result<void> result;
  while (result && !body.empty()) {
    const auto step = body.first(std::min(piece, body.size()));
    result = decoder.Write(step);
    body = body.subspan(step.size());
  }
  if (result) result = decoder.Finish();
  outcome.good = result.has_value();
  if (!result) outcome.reason = result.error().reason();
  if (outcome.good) {
    VMFERRY_CHECK(decoder.decoded_bytes() == outcome.content.size());
    outcome.trailers = decoder.trailers();
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const bool is_signed = (data[0] & 1) != 0;
  const std::size_t piece = std::size_t{data[1]} + 1;
  const auto body = std::as_bytes(std::span(data, size)).subspan(2);
  const Outcome whole = Decode(is_signed, body, body.size() + 1);
  VMFERRY_CHECK(whole.content.size() <= body.size());
  VMFERRY_CHECK(Decode(is_signed, body, piece) == whole);
  return 0;
}
