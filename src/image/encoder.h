// SPDX-License-Identifier: Apache-2.0
//
// Encoder: turns the guest bytes of a DiskImage into a file of some format, as a stream that a
// pipeline cuts into pieces.
//
// The work is split so that what costs time runs in parallel. Guest ranges are cut in order; any
// number of workers turn ranges into encoded parts (reading and compressing:
// EncoderWorker::Encode); the parts are placed one after the other, in guest order, which only lays
// out bytes and keeps the tables (Encoder::Place). The pipeline is transfer/encode.h; it never
// looks into the bytes.
//
// The output depends on the guest's bytes, the encoder's id and its options, and on nothing else:
// not on the source's format, not on the number of workers, not on the time.
//
// Thread safety: workers run side by side, each used by one thread; an Encoder is used by one
// thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"
#include "io/buffer.h"

namespace vmferry::image {

/// A range of guest bytes to encode: whole units of the encoder, except that the last one may end
/// where the disk does. Parts without anything but holes are not made.
struct GuestPart {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  /// What it holds; covers it exactly.
  std::vector<Extent> extents;
};

/// One unit (grain, cluster, block) of an encoded part.
struct EncodedUnit {
  std::uint64_t guest_offset_bytes = 0;
  std::uint32_t offset_bytes = 0;  ///< within EncodedPart::bytes
  std::uint32_t length_bytes = 0;  ///< 0: the unit holds only zeros and has no bytes
  bool compressed = false;
};

/// What a worker makes of a GuestPart.
struct EncodedPart {
  std::uint64_t offset_bytes = 0;  ///< of the guest
  std::uint64_t length_bytes = 0;
  io::Buffer bytes;
  std::vector<EncodedUnit> units;  ///< ascending; units that are holes may be missing
};

/// Where an encoder stands between two units: all cursors up to one are enough to go on from there
/// in another process.
struct EncoderCursor {
  std::uint64_t guest_offset_bytes = 0;  ///< everything in front of it was placed
  std::uint64_t output_offset_bytes = 0;
  /// The encoder's own: what has changed since the cursor before. Empty when it cannot be
  /// restarted.
  std::vector<std::byte> state;
};

/// Takes what an encoder writes. Bytes come in order, but for Overwrite.
class EncoderOutput {
 public:
  virtual ~EncoderOutput() = default;

  /// Where the next byte goes.
  virtual std::uint64_t OffsetBytes() const = 0;
  virtual Result<void> Append(std::span<const std::byte> bytes) = 0;
  /// Appends a buffer that the encoder does not need any more: saves a copy.
  virtual Result<void> Append(io::Buffer bytes) = 0;
  /// Appends `length_bytes` zeros, which a file keeps as a hole.
  virtual Result<void> Skip(std::uint64_t length_bytes) = 0;
  /// Replaces bytes that were appended. Only for encoders that say `rewrites`.
  virtual Result<void> Overwrite(std::uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  /// True when the piece under way has its nominal size: the encoder should call EndPiece once it
  /// stands between two units. For encoders without `restarts` the pipeline does it.
  virtual bool PieceIsFull() const = 0;
  virtual Result<void> EndPiece(EncoderCursor cursor) = 0;
};

/// What is fixed about an encoder when it is made.
struct EncoderInfo {
  /// Names format, method and version: the same id and the same bytes in give the same bytes out
  /// on one class of processor. Kept in journals.
  std::string id;
  std::string format;       ///< as DiskImageInfo
  std::string subformat;    ///< as DiskImageInfo
  std::string wire_format;  ///< as DiskImageInfo
  /// Grain, cluster or block: GuestParts are whole numbers of it.
  std::uint64_t unit_bytes = 0;
  /// Overwrites what it has appended: only targets that keep a file can take it.
  bool rewrites = false;
  /// Can go on from a cursor.
  bool restarts = false;
  /// Capacity of the disk as it is written: the source's, or rounded up where the format must.
  std::uint64_t virtual_size_bytes = 0;
  /// Size of the whole output where it is known beforehand.
  std::optional<std::uint64_t> output_size_bytes;
  /// What somebody should know about the result, one sentence each: a size that was rounded.
  std::vector<std::string> remarks;
};

/// Encodes guest parts; one for each thread, with its own scratch memory and compressor.
class EncoderWorker {
 public:
  virtual ~EncoderWorker() = default;

  /// Reads the part's data and encodes it. Units without any byte but zero come out without bytes.
  ///
  /// `bytes` of the result may be `reuse` grown again.
  /// Cost:   memory of about twice the part.
  /// Errors: those of reading the disk.
  virtual Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) = 0;
};

class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual const EncoderInfo& Info() const = 0;
  /// `disk` must live longer than the worker; its size is the one the encoder was made for.
  virtual std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const = 0;

  /// Writes what stands in front of the first unit. Called once, unless Restore is.
  virtual Result<void> Begin(EncoderOutput& out) = 0;
  /// Lays out the next part. Parts come in guest order; what is left out between them is holes.
  ///
  /// May take `part.bytes` over into the output; what is left of it can be reused.
  virtual Result<void> Place(EncodedPart& part, EncoderOutput& out) = 0;
  /// Writes what stands behind the last unit.
  virtual Result<void> Finish(EncoderOutput& out) = 0;

  /// Instead of Begin: takes back the cursors that an encoder of the same id made for the same
  /// disk, all of them from the first on, one call each. It goes on from the last one. Errors:
  /// kDataLoss encoder.bad_state; kUnimplemented encoder.no_restart.
  virtual Result<void> Restore(const EncoderCursor& cursor) = 0;
};

/// Reads the runs of `part` that hold data, and clears the others:
/// fills `out` (part.length_bytes long) with the guest's bytes. Errors: those of reading.
Result<void> ReadPart(const DiskImage& disk, const GuestPart& part, std::span<std::byte> out);

/// True when a run of the part holds data anywhere in [offset_bytes, offset_bytes + length_bytes).
/// Ranges must be asked for in ascending order; `next` starts at 0 and is moved along.
bool HoldsData(const GuestPart& part, std::size_t& next, std::uint64_t offset_bytes,
               std::uint64_t length_bytes);

}  // namespace vmferry::image
