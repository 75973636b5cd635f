// SPDX-License-Identifier: Apache-2.0
#include "region/core/aws_chunked.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/units.h"
#include "sigv4/chunk.h"
#include "sigv4/verify.h"
#include "text/xml.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kLineBytesMax = 4 * kKiB;       // a signature takes 85
constexpr std::size_t kTrailersMax = 16;              // clients send one
constexpr std::uint64_t kSignedChunkMax = 16 * kMiB;  // kept in memory; clients use 64 KiB to 8 MiB

Error BadChunk(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "region.bad_chunk", std::move(message));
}

Error BadSignature(std::string_view what) {
  return Error(ErrorCode::kPermissionDenied, "region.bad_chunk_signature",
               fmt::format("the signature of {} does not match", what));
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

}  // namespace

Result<void> AwsChunkedDecoder::Write(std::span<const std::byte> data) {
  while (!data.empty()) {
    if (step_ == Step::kData) {
      const auto piece =
          data.first(static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), left_bytes_)));
      if (signing_) {
        chunk_.insert(chunk_.end(), piece.begin(), piece.end());
      } else {
        VMFERRY_RETURN_IF_ERROR(sink_(piece));
      }
      decoded_bytes_ += piece.size();
      left_bytes_ -= piece.size();
      data = data.subspan(piece.size());
      if (left_bytes_ == 0) VMFERRY_RETURN_IF_ERROR(EndOfChunk());
      continue;
    }
    const char c = static_cast<char>(data.front());
    data = data.subspan(1);
    if (c != '\n') {
      if (line_.size() >= kLineBytesMax)
        return BadChunk("a line of an aws-chunked body is too long");
      line_.push_back(c);
      continue;
    }
    VMFERRY_RETURN_IF_ERROR(TakeLine());
  }
  return {};
}

Result<void> AwsChunkedDecoder::TakeLine() {
  if (!line_.empty() && line_.back() == '\r') line_.pop_back();
  switch (step_) {
    case Step::kSizeLine:
      VMFERRY_RETURN_IF_ERROR(TakeSizeLine());
      break;
    case Step::kDataEnd:
      if (!line_.empty()) return BadChunk("a chunk of an aws-chunked body is longer than it says");
      step_ = Step::kSizeLine;
      break;
    case Step::kTrailer:
      VMFERRY_RETURN_IF_ERROR(TakeTrailerLine());
      break;
    case Step::kData:
      break;
  }
  line_.clear();
  return {};
}

Result<void> AwsChunkedDecoder::TakeSizeLine() {
  const std::string_view line = line_;
  const std::string_view size = line.substr(0, line.find(';'));
  const auto [end, error] =
      std::from_chars(size.data(), size.data() + size.size(), left_bytes_, 16);
  if (size.empty() || error != std::errc() || end != size.data() + size.size()) {
    return BadChunk("an aws-chunked body has a malformed chunk size");
  }
  if (signing_) {
    static constexpr std::string_view kMark = ";chunk-signature=";
    const std::size_t mark = line.find(kMark);
    if (mark == line.npos) return BadSignature("a chunk without one");
    if (left_bytes_ > kSignedChunkMax) return BadChunk("a signed chunk is longer than 16 MiB");
    chunk_signature_ = std::string(line.substr(mark + kMark.size()));
  }
  if (left_bytes_ > 0) {
    step_ = Step::kData;
    return {};
  }
  VMFERRY_RETURN_IF_ERROR(EndOfChunk());
  step_ = Step::kTrailer;
  return {};
}

Result<void> AwsChunkedDecoder::EndOfChunk() {
  step_ = Step::kDataEnd;
  if (!signing_) return {};
  const std::string expected = sigv4::ChunkSignature(
      signing_->signing_key, signing_->amz_date, signing_->scope, signing_->seed_signature, chunk_);
  if (!sigv4::ConstantTimeEquals(expected, chunk_signature_)) return BadSignature("a chunk");
  signing_->seed_signature = expected;
  if (!chunk_.empty()) VMFERRY_RETURN_IF_ERROR(sink_(chunk_));
  chunk_.clear();
  return {};
}

Result<void> AwsChunkedDecoder::TakeTrailerLine() {
  // Clients differ in their line ends around trailers: blank lines mean nothing here.
  if (line_.empty()) return {};
  const std::size_t colon = line_.find(':');
  if (colon == std::string::npos || trailers_.size() >= kTrailersMax) {
    return BadChunk("an aws-chunked body has a malformed trailer");
  }
  const std::string name = LowerCase(std::string_view(line_).substr(0, colon));
  const std::string value(text::Trim(std::string_view(line_).substr(colon + 1)));
  if (name == "x-amz-trailer-signature") {
    trailer_signature_ = value;
    return {};
  }
  trailer_text_ += fmt::format("{}:{}\n", name, value);
  trailers_.emplace_back(name, value);
  return {};
}

Result<void> AwsChunkedDecoder::Finish() {
  if (!line_.empty()) VMFERRY_RETURN_IF_ERROR(TakeLine());  // the last line end may be missing
  if (step_ != Step::kTrailer) return BadChunk("an aws-chunked body ends before its last chunk");
  if (!signing_ || !signing_->signed_trailer) return {};
  const std::string expected =
      sigv4::TrailerSignature(signing_->signing_key, signing_->amz_date, signing_->scope,
                              signing_->seed_signature, trailer_text_);
  if (!sigv4::ConstantTimeEquals(expected, trailer_signature_)) return BadSignature("the trailer");
  return {};
}

}  // namespace vmferry::region
