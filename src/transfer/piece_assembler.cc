// SPDX-License-Identifier: Apache-2.0
#include "transfer/piece_assembler.h"

#include <algorithm>
#include <cstring>

#include "base/units.h"

namespace vmferry::transfer {
namespace {

/// Room behind the nominal size: what an encoder appends before it stands between two units again.
constexpr std::uint64_t kSlackBytes = 256 * kKiB;
/// Pieces whose memory is kept: as many as are usually under way.
constexpr std::size_t kRecycledMax = 8;

}  // namespace

PieceAssembler::PieceAssembler(std::uint64_t piece_bytes, image::EncoderCursor begin,
                               std::uint64_t first_number)
    : piece_bytes_(piece_bytes),
      offset_bytes_(begin.output_offset_bytes),
      next_number_(first_number),
      begin_(std::move(begin)) {}

Result<void> PieceAssembler::Append(std::span<const std::byte> bytes) {
  const std::size_t wanted = current_.size() + bytes.size();
  if (wanted > current_.capacity()) {
    // Tables at the end may be longer than a piece: twice as large each time.
    const std::size_t doubled = current_.size() > piece_bytes_ ? 2 * current_.capacity() : 0;
    io::Buffer larger =
        BufferOf(std::max<std::size_t>({piece_bytes_ + kSlackBytes, wanted, doubled}));
    larger.Append(current_.bytes());
    current_ = std::move(larger);
  }
  current_.Append(bytes);
  offset_bytes_ += bytes.size();
  return {};
}

Result<void> PieceAssembler::Append(io::Buffer bytes) {
  if (!current_.empty()) return Append(std::span<const std::byte>(bytes.bytes()));
  offset_bytes_ += bytes.size();
  current_ = std::move(bytes);
  return {};
}

Result<void> PieceAssembler::Skip(std::uint64_t length_bytes) {
  if (!current_.empty()) {
    Complete({.guest_offset_bytes = begin_.guest_offset_bytes,
              .output_offset_bytes = offset_bytes_,
              .state = {}});
  }
  offset_bytes_ += length_bytes;
  begin_.output_offset_bytes = offset_bytes_;
  return {};
}

Result<void> PieceAssembler::Overwrite(std::uint64_t offset_bytes,
                                       std::span<const std::byte> bytes) {
  VMFERRY_CHECK(offset_bytes + bytes.size() <= offset_bytes_);
  const std::uint64_t current_begin = offset_bytes_ - current_.size();
  if (offset_bytes >= current_begin) {
    std::memcpy(current_.bytes().data() + (offset_bytes - current_begin), bytes.data(),
                bytes.size());
    return {};
  }
  // Two places at most: what is in the piece under way is not repeated.
  const std::size_t before = std::min<std::uint64_t>(bytes.size(), current_begin - offset_bytes);
  if (before < bytes.size()) {
    std::memcpy(current_.bytes().data(), bytes.data() + before, bytes.size() - before);
  }
  rewrites_.push_back({.piece = {.number = 0, .offset_bytes = offset_bytes, .length_bytes = before},
                       .bytes = io::Buffer::Copy(bytes.first(before)),
                       .begin = {},
                       .end = {}});
  return {};
}

Result<void> PieceAssembler::EndPiece(image::EncoderCursor cursor) {
  VMFERRY_CHECK(cursor.output_offset_bytes == offset_bytes_);
  Complete(std::move(cursor));
  return {};
}

void PieceAssembler::Recycle(io::Buffer buffer) {
  buffer.Resize(0);
  if (recycled_.size() < kRecycledMax) recycled_.push_back(std::move(buffer));
}

io::Buffer PieceAssembler::BufferOf(std::size_t capacity) {
  for (io::Buffer& buffer : recycled_) {
    if (buffer.capacity() < capacity) continue;
    std::swap(buffer, recycled_.back());
    io::Buffer found = std::move(recycled_.back());
    recycled_.pop_back();
    return found;
  }
  return io::Buffer(capacity);
}

void PieceAssembler::End() {
  if (current_.empty()) return;
  Complete({.guest_offset_bytes = begin_.guest_offset_bytes,
            .output_offset_bytes = offset_bytes_,
            .state = {}});
}

void PieceAssembler::Complete(image::EncoderCursor cursor) {
  EncodedPiece piece = {.piece = {.number = next_number_++,
                                  .offset_bytes = offset_bytes_ - current_.size(),
                                  .length_bytes = current_.size()},
                        .bytes = std::exchange(current_, {}),
                        .begin = std::move(begin_),
                        .end = cursor};
  begin_ = std::move(cursor);
  complete_.push_back(std::move(piece));
}

}  // namespace vmferry::transfer
