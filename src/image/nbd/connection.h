// SPDX-License-Identifier: Apache-2.0
//
// Connection: one connection to an NBD export, read-only, in which nothing waits for ever.
//
// Every request has a deadline by which it is answered, whatever trickles in before. After an error
// a connection is useless; the caller makes another. libnbd is seen by connection.cc alone.
//
// Thread safety: one thread at a time.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"
#include "image/nbd/uri.h"
#include "sys/clock.h"

namespace vmferry::image::nbd {

/// How long a server may take.
struct Patience {
  /// From the first packet to a usable export, TLS included. The name look-up before it has the
  /// resolver's own limits.
  std::chrono::milliseconds connect = std::chrono::seconds(60);
  /// For the answer to one request (at most 512 KiB of data): a server slower than about 9 KB/s
  /// is taken for stalled.
  std::chrono::milliseconds request = std::chrono::seconds(60);
};

/// What the server said about the export. Validated.
struct ExportFacts {
  std::uint64_t size_bytes = 0;
  std::uint64_t minimum_block_bytes = 1;  ///< a power of two, at most 64 KiB
  /// What one request may ask for: a multiple of the minimum.
  std::uint64_t request_bytes = 0;
  std::uint64_t maximum_block_bytes = 0;  ///< as the server gave it; 0 when it did not
  bool multi_conn = false;
  bool has_allocation = false;  ///< the metadata context base:allocation
  bool tls = false;

  bool operator==(const ExportFacts&) const = default;
};

class Connection {
 public:
  /// Connects and chooses the export.
  ///
  /// Errors: kUnavailable nbd.connect; kPermissionDenied nbd.refused; kUnavailable nbd.tls;
  ///         kDeadlineExceeded nbd.timeout; kDataLoss nbd.block_size; kInternal nbd.library.
  static Result<std::unique_ptr<Connection>> Open(const Uri& uri, const Patience& patience,
                                                  sys::Clock& clock);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const ExportFacts& Facts() const { return facts_; }

  /// Reads a range, several requests in flight.
  ///
  /// Pre:    both ends lie on minimum blocks or at the export's end.
  /// Errors: kUnavailable nbd.read_failed (Retry::kTransient when the connection broke, kNever
  ///         when the server answered with an error); kDeadlineExceeded nbd.timeout. The
  ///         connection is useless afterwards.
  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out);

  /// The extents at the beginning of the range, as many as the server cared to tell: at least
  /// one, none empty, clipped to the range.
  ///
  /// Pre:    as Read; length_bytes <= kMaxStatusBytes; Facts().has_allocation.
  /// Errors: as Read; kDataLoss nbd.extents.
  Result<std::vector<Extent>> BlockStatus(std::uint64_t offset_bytes, std::uint64_t length_bytes);

 private:
  struct Handle;

  explicit Connection(std::unique_ptr<Handle> handle);

  std::unique_ptr<Handle> handle_;
  ExportFacts facts_;
};

/// NBD protocol, "NBD_CMD_BLOCK_STATUS": lengths have 32 bits; 2 GiB keeps away from servers'
/// edges.
inline constexpr std::uint64_t kMaxStatusBytes = std::uint64_t{2} << 30;

}  // namespace vmferry::image::nbd
