// SPDX-License-Identifier: Apache-2.0
#include "testing/memory_output.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "image/extent_list.h"

namespace vmferry::testing {
namespace {

constexpr std::uint64_t kChunkBytes = 64 * 1024;

bool OnlyHoles(const std::vector<image::Extent>& extents) {
  return std::all_of(extents.begin(), extents.end(), [](const image::Extent& extent) {
    return extent.kind == image::ExtentKind::kHole;
  });
}

}  // namespace

Result<void> MemoryOutput::Append(std::span<const std::byte> bytes) {
  Put(end_bytes_, bytes);
  end_bytes_ += bytes.size();
  return {};
}

Result<void> MemoryOutput::Skip(std::uint64_t length_bytes) {
  end_bytes_ += length_bytes;
  return {};
}

Result<void> MemoryOutput::Overwrite(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  VMFERRY_CHECK(offset_bytes >= begin_bytes_ && offset_bytes <= end_bytes_);
  VMFERRY_CHECK(bytes.size() <= end_bytes_ - offset_bytes);
  Put(offset_bytes, bytes);
  ++overwrites_;
  return {};
}

Result<void> MemoryOutput::EndPiece(image::EncoderCursor cursor) {
  VMFERRY_CHECK(cursor.output_offset_bytes == end_bytes_);
  piece_begin_bytes_ = end_bytes_;
  cursors_.push_back(std::move(cursor));
  return {};
}

void MemoryOutput::Put(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::uint64_t within = offset_bytes % kChunkBytes;
    const std::size_t count = std::min<std::size_t>(bytes.size(), kChunkBytes - within);
    std::vector<std::byte>& chunk = chunks_[offset_bytes / kChunkBytes];
    if (chunk.empty()) chunk.resize(kChunkBytes);
    std::memcpy(chunk.data() + within, bytes.data(), count);
    offset_bytes += count;
    bytes = bytes.subspan(count);
  }
}

std::vector<std::byte> MemoryOutput::Bytes() const {
  return Bytes(begin_bytes_, end_bytes_ - begin_bytes_);
}

std::vector<std::byte> MemoryOutput::Bytes(std::uint64_t offset_bytes,
                                           std::size_t length_bytes) const {
  VMFERRY_CHECK(offset_bytes <= end_bytes_ && length_bytes <= end_bytes_ - offset_bytes);
  std::vector<std::byte> bytes(length_bytes);
  std::size_t done = 0;
  while (done < length_bytes) {
    const std::uint64_t at = offset_bytes + done;
    const std::uint64_t within = at % kChunkBytes;
    const std::size_t count = std::min<std::size_t>(length_bytes - done, kChunkBytes - within);
    const auto chunk = chunks_.find(at / kChunkBytes);
    if (chunk != chunks_.end()) {
      std::memcpy(bytes.data() + done, chunk->second.data() + within, count);
    }
    done += count;
  }
  return bytes;
}

void MemoryOutput::Save(const std::filesystem::path& path) const {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  for (const auto& [index, chunk] : chunks_) {
    file.seekp(static_cast<std::streamoff>(index * kChunkBytes));
    file.write(reinterpret_cast<const char*>(chunk.data()),
               static_cast<std::streamsize>(chunk.size()));
  }
  file.close();
  VMFERRY_CHECK(file.good());
  std::filesystem::resize_file(path, end_bytes_);  // the last chunk may reach further
}

Result<std::vector<image::GuestPart>> CutParts(const image::DiskImage& disk,
                                               std::uint64_t unit_bytes, std::uint64_t part_bytes,
                                               std::uint64_t from_bytes) {
  VMFERRY_CHECK(unit_bytes > 0 && from_bytes % unit_bytes == 0);
  const std::uint64_t window_bytes = std::max(unit_bytes, part_bytes / unit_bytes * unit_bytes);
  std::vector<image::GuestPart> parts;
  for (std::uint64_t offset = from_bytes; offset < disk.SizeBytes(); offset += window_bytes) {
    const std::uint64_t length_bytes = std::min(window_bytes, disk.SizeBytes() - offset);
    VMFERRY_ASSIGN_OR_RETURN(std::vector<image::Extent> extents,
                             image::WholeExtents(disk, offset, length_bytes));
    if (OnlyHoles(extents)) continue;
    parts.push_back({offset, length_bytes, std::move(extents)});
  }
  return parts;
}

Result<void> EncodeRest(image::Encoder& encoder, const image::DiskImage& disk,
                        std::uint64_t part_bytes, std::uint64_t from_bytes, MemoryOutput& out) {
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<image::GuestPart> parts,
                           CutParts(disk, encoder.Info().unit_bytes, part_bytes, from_bytes));
  const std::unique_ptr<image::EncoderWorker> worker = encoder.MakeWorker(disk);
  io::Buffer reuse;
  for (const image::GuestPart& part : parts) {
    VMFERRY_ASSIGN_OR_RETURN(image::EncodedPart encoded, worker->Encode(part, std::move(reuse)));
    VMFERRY_RETURN_IF_ERROR(encoder.Place(encoded, out));
    reuse = std::move(encoded.bytes);
  }
  return encoder.Finish(out);
}

Result<MemoryOutput> EncodeAll(image::Encoder& encoder, const image::DiskImage& disk,
                               std::uint64_t part_bytes, std::uint64_t piece_bytes) {
  MemoryOutput out(piece_bytes);
  VMFERRY_RETURN_IF_ERROR(encoder.Begin(out));
  VMFERRY_RETURN_IF_ERROR(EncodeRest(encoder, disk, part_bytes, 0, out));
  return out;
}

}  // namespace vmferry::testing
