// SPDX-License-Identifier: Apache-2.0
//
// AwsChunkedDecoder: takes the framing off a body with Content-Encoding aws-chunked, and checks the
// signatures of signed chunks.
//
// Not the chunks of HTTP's Transfer-Encoding, which are gone before.
//
// Thread safety: one thread at a time.
// Source: Amazon S3 API reference, "Transferring payload in multiple chunks", with and without
// trailing headers.

#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "region/core/service.h"
#include "sigv4/canonical.h"

namespace vmferry::region {

/// What signed chunks are checked with.
struct ChunkSigning {
  codec::Sha256Digest signing_key{};
  std::string amz_date;
  sigv4::Scope scope;
  std::string seed_signature;
  bool signed_trailer = false;  ///< STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
};

class AwsChunkedDecoder {
 public:
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;

  /// `signing` is absent for unsigned chunks.
  AwsChunkedDecoder(std::optional<ChunkSigning> signing, Sink sink)
      : signing_(std::move(signing)), sink_(std::move(sink)) {}

  /// Decodes the next bytes.
  /// Errors: kInvalidArgument region.bad_chunk; kPermissionDenied region.bad_chunk_signature; the
  /// sink's.
  Result<void> Write(std::span<const std::byte> data);
  /// Checks that the body was complete. Errors: as Write.
  Result<void> Finish();

  std::uint64_t decoded_bytes() const { return decoded_bytes_; }
  /// Names in lower case.
  const std::vector<NameValue>& trailers() const { return trailers_; }

 private:
  enum class Step { kSizeLine, kData, kDataEnd, kTrailer };

  Result<void> TakeLine();
  Result<void> TakeSizeLine();
  Result<void> TakeTrailerLine();
  Result<void> EndOfChunk();

  std::optional<ChunkSigning> signing_;
  Sink sink_;
  Step step_ = Step::kSizeLine;
  std::string line_;
  std::uint64_t left_bytes_ = 0;  // of the present chunk
  std::string chunk_signature_;
  std::vector<std::byte> chunk_;  // signed chunks are kept until their signature is checked
  std::uint64_t decoded_bytes_ = 0;
  std::vector<NameValue> trailers_;
  std::string trailer_text_;  // "name:value\n" lines as they are signed
  std::string trailer_signature_;
};

}  // namespace vmferry::region
