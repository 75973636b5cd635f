// SPDX-License-Identifier: Apache-2.0
#include "image/nbd/connection.h"

#include <fmt/format.h>
#include <libnbd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "base/units.h"
#include "image/extent_list.h"
#include "image/nbd/trust.h"

namespace vmferry::image::nbd {
namespace {

/// One request asks for at most this much: large enough that the answer's header costs nothing,
/// small enough to be answered within the deadline.
constexpr std::uint64_t kRequestBytes = 512 * kKiB;
/// Requests in flight on one connection: hides the latency of a network.
constexpr std::size_t kInFlight = 8;
/// NBD protocol, "Block sizes": the minimum is at most 64 KiB.
constexpr std::uint64_t kMaxMinimumBlock = 64 * kKiB;
/// Extents taken from one answer; a server may send more, which are asked for again.
constexpr std::size_t kMaxExtentsPerAnswer = 65536;

/// The server's or the library's words, safe to print.
std::string LastMessage() {
  const char* text = nbd_get_error();
  std::string message = text == nullptr ? "no further information" : text;
  constexpr std::size_t kMaxMessage = 300;
  if (message.size() > kMaxMessage) message.resize(kMaxMessage);
  for (char& c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) c = '?';
  }
  return message;
}

Error LibraryError(std::string_view what) {
  return Error(ErrorCode::kInternal, "nbd.library", fmt::format("{}: {}", what, LastMessage()));
}

Error TimeoutError(std::string_view what, std::chrono::milliseconds patience) {
  return Error(ErrorCode::kDeadlineExceeded, "nbd.timeout",
               fmt::format("the NBD server did not {} within {} ms", what, patience.count()))
      .WithRemedy("look whether the server is alive and its own storage answers");
}

bool Mentions(std::string_view message, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
    return message.find(word) != std::string_view::npos;
  });
}

/// Why no connection came about, from libnbd's words: it has no codes for the stages.
Error ConnectError(const Uri& uri) {
  const std::string message = LastMessage();
  const bool about_tls = Mentions(message, {"gnutls", "TLS", "tls", "certificate"});
  if (about_tls) {
    return Error(ErrorCode::kUnavailable, "nbd.tls",
                 fmt::format("no TLS connection to the NBD server: {}", message))
        .WithRemedy(uri.tls ? "check the server's certificate; a CA of your own is given by "
                              "?tls-certificates=FOLDER with ca-cert.pem in it"
                            : "the server wants TLS: write nbds:// instead of nbd://");
  }
  return Error(ErrorCode::kUnavailable, "nbd.connect",
               fmt::format("no connection to the NBD server: {}", message))
      .WithRetry(Retry::kTransient)
      .WithRemedy("check the address, and that the server runs and may be reached from here");
}

}  // namespace

/// Owns libnbd's handle; closing it neither waits nor fails.
struct Connection::Handle {
  Handle(nbd_handle* raw, sys::Clock& the_clock, Patience the_patience)
      : nbd(raw), clock(the_clock), patience(the_patience) {}
  ~Handle() { nbd_close(nbd); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  /// Lets the connection work until something happened. False: the deadline passed. A broken
  /// connection is something that happened.
  bool Turn(Deadline deadline) {
    const auto left = deadline.Remaining(clock.MonotonicNow());
    if (left.count() <= 0) return false;
    // At most a second at a time, so that the deadline holds whatever the library does.
    const auto step = std::min<std::int64_t>(left.count(), 1000);
    if (nbd_poll(nbd, static_cast<int>(step)) == -1 && nbd_get_errno() != EINTR) stuck = true;
    return true;
  }
  bool Broken() const { return stuck || nbd_aio_is_dead(nbd) != 0 || nbd_aio_is_closed(nbd) != 0; }

  Result<void> Configure(const Uri& uri, const std::optional<TrustFolder>& trust);
  Result<void> Connect(const Uri& uri, Deadline deadline);
  Result<void> Go(const Uri& uri, Deadline deadline);
  Result<ExportFacts> ReadFacts() const;
  Error RequestError(std::string_view what, std::uint64_t offset_bytes);

  struct GoOutcome {
    bool done = false;
    int error = 0;
  };

  nbd_handle* const nbd;
  sys::Clock& clock;
  const Patience patience;
  GoOutcome go;
  bool stuck = false;  ///< the library cannot wait any more: as good as broken
};

Result<void> Connection::Handle::Configure(const Uri& uri,
                                           const std::optional<TrustFolder>& trust) {
  const auto failed = [](int outcome) { return outcome == -1; };
  if (failed(nbd_set_uri_allow_transports(
          nbd, LIBNBD_ALLOW_TRANSPORT_TCP | LIBNBD_ALLOW_TRANSPORT_UNIX)) ||
      failed(nbd_set_uri_allow_tls(nbd, uri.tls ? LIBNBD_TLS_REQUIRE : LIBNBD_TLS_DISABLE)) ||
      failed(nbd_set_uri_allow_local_file(nbd, false)) || failed(nbd_set_opt_mode(nbd, true)) ||
      failed(nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION))) {
    return LibraryError("libnbd took no options");
  }
  if (trust && failed(nbd_set_tls_certificates(nbd, trust->path().c_str()))) {
    return LibraryError("libnbd took no certificates");
  }
  // A request that ends where an export of odd size ends is not a whole block.
  const std::uint32_t strict = nbd_get_strict_mode(nbd) & ~std::uint32_t{LIBNBD_STRICT_ALIGN};
  if (failed(nbd_set_strict_mode(nbd, strict))) return LibraryError("libnbd took no options");
  return {};
}

Result<void> Connection::Handle::Connect(const Uri& uri, Deadline deadline) {
  if (nbd_aio_connect_uri(nbd, uri.address.c_str()) == -1) {
    // A URI that libnbd cannot read leaves the handle as it was made.
    if (nbd_aio_is_created(nbd) == 1) {
      return Error(ErrorCode::kInvalidArgument, "nbd.uri",
                   fmt::format("the address was not understood: {}", LastMessage()));
    }
    return ConnectError(uri);
  }
  while (nbd_aio_is_negotiating(nbd) != 1 && nbd_aio_is_ready(nbd) != 1) {
    if (Broken()) return ConnectError(uri);
    if (!Turn(deadline)) return TimeoutError("accept the connection", patience.connect);
  }
  return {};
}

Result<void> Connection::Handle::Go(const Uri& uri, Deadline deadline) {
  if (nbd_aio_is_ready(nbd) == 1) return {};  // an old server has only one export
  // Lives as long as the handle, which may call back until it is closed.
  const nbd_completion_callback completion = {.callback =
                                                  [](void* data, int* error) {
                                                    auto& outcome = *static_cast<GoOutcome*>(data);
                                                    outcome = {.done = true, .error = *error};
                                                    return 1;
                                                  },
                                              .user_data = &go,
                                              .free = nullptr};
  const bool asked = nbd_aio_opt_go(nbd, completion) != -1;
  while (asked && !go.done && nbd_aio_is_ready(nbd) != 1) {
    if (Broken()) break;
    if (!Turn(deadline)) return TimeoutError("open the export", patience.connect);
  }
  if (nbd_aio_is_ready(nbd) == 1 && go.error == 0) return {};
  const std::string why = go.error != 0 ? std::string(std::strerror(go.error)) : LastMessage();
  const bool tls_missing = !uri.tls && go.error == ENOTSUP;
  if (tls_missing || Mentions(why, {"gnutls", "TLS"})) {
    return Error(ErrorCode::kUnavailable, "nbd.tls",
                 fmt::format("the NBD server does not open the export without TLS: {}", why))
        .WithRemedy("write nbds:// instead of nbd://");
  }
  return Error(
             ErrorCode::kPermissionDenied, "nbd.refused",
             fmt::format("the NBD server does not open the export '{}': {}", uri.export_name, why))
      .WithRemedy("ask the server what it exports: nbdinfo --list URI");
}

Result<ExportFacts> Connection::Handle::ReadFacts() const {
  ExportFacts facts;
  const std::int64_t size = nbd_get_size(nbd);
  if (size < 0) return LibraryError("the export has no size");
  facts.size_bytes = static_cast<std::uint64_t>(size);
  const std::int64_t minimum = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
  const std::int64_t maximum = nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);
  facts.minimum_block_bytes = minimum > 0 ? static_cast<std::uint64_t>(minimum) : 1;
  facts.maximum_block_bytes = maximum > 0 ? static_cast<std::uint64_t>(maximum) : 0;
  // NBD protocol, "Block sizes": the minimum is a power of two of at most 64 KiB, the maximum a
  // multiple of it.
  if (!std::has_single_bit(facts.minimum_block_bytes) ||
      facts.minimum_block_bytes > kMaxMinimumBlock ||
      (facts.maximum_block_bytes != 0 && facts.maximum_block_bytes < facts.minimum_block_bytes)) {
    return Error(ErrorCode::kDataLoss, "nbd.block_size",
                 fmt::format("the NBD server wants requests of {} to {} bytes, which the protocol "
                             "does not allow",
                             facts.minimum_block_bytes, facts.maximum_block_bytes));
  }
  facts.request_bytes = kRequestBytes;
  if (facts.maximum_block_bytes != 0) {
    facts.request_bytes = std::min(facts.request_bytes, facts.maximum_block_bytes);
  }
  facts.request_bytes -= facts.request_bytes % facts.minimum_block_bytes;
  facts.multi_conn = nbd_can_multi_conn(nbd) == 1;
  facts.has_allocation = nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  facts.tls = nbd_get_tls_negotiated(nbd) == 1;
  return facts;
}

/// Why a request failed. ESHUTDOWN is a server that is going away: as if the connection broke.
Error Connection::Handle::RequestError(std::string_view what, std::uint64_t offset_bytes) {
  const bool lost = Broken() || nbd_get_errno() == ESHUTDOWN || nbd_get_errno() == ENOTCONN;
  return Error(ErrorCode::kUnavailable, "nbd.read_failed",
               fmt::format("the NBD server did not {}: {}", what, LastMessage()))
      .With("offset_bytes", offset_bytes)
      .WithRetry(lost ? Retry::kTransient : Retry::kNever)
      .WithRemedy("look into the server's log");
}

Connection::Connection(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Connection::~Connection() = default;

Result<std::unique_ptr<Connection>> Connection::Open(const Uri& uri, const Patience& patience,
                                                     sys::Clock& clock) {
  nbd_handle* raw = nbd_create();
  if (raw == nullptr) return LibraryError("libnbd made no handle");
  std::unique_ptr<Connection> connection(
      new Connection(std::make_unique<Handle>(raw, clock, patience)));
  Handle& handle = *connection->handle_;
  const Deadline deadline = clock.DeadlineIn(patience.connect);
  // Read while the connection is made, not later.
  std::optional<TrustFolder> trust;
  if (uri.tls) {
    VMFERRY_ASSIGN_OR_RETURN(TrustFolder folder, TrustFolder::Make(uri.certificates));
    trust.emplace(std::move(folder));
  }
  VMFERRY_RETURN_IF_ERROR(handle.Configure(uri, trust));
  VMFERRY_RETURN_IF_ERROR(handle.Connect(uri, deadline));
  VMFERRY_RETURN_IF_ERROR(handle.Go(uri, deadline));
  VMFERRY_ASSIGN_OR_RETURN(connection->facts_, handle.ReadFacts());
  return connection;
}

Result<void> Connection::Read(std::uint64_t offset_bytes, std::span<std::byte> out) {
  struct Request {
    std::uint64_t cookie = 0;
    std::uint64_t offset_bytes = 0;
    Deadline deadline = Deadline::Never();
  };
  Handle& handle = *handle_;
  // Whatever goes wrong, the handle is closed before `out` goes away: nothing is written to it
  // late.
  const auto give_up = [&](Error error) {
    handle_.reset();
    return error;
  };
  std::deque<Request> flying;
  while (!out.empty() || !flying.empty()) {
    while (!out.empty() && flying.size() < kInFlight) {
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), facts_.request_bytes));
      const std::int64_t cookie =
          nbd_aio_pread(handle.nbd, out.data(), count, offset_bytes, nbd_completion_callback{}, 0);
      if (cookie == -1) return give_up(handle.RequestError("take a request", offset_bytes));
      flying.push_back({.cookie = static_cast<std::uint64_t>(cookie),
                        .offset_bytes = offset_bytes,
                        .deadline = handle.clock.DeadlineIn(handle.patience.request)});
      out = out.subspan(count);
      offset_bytes += count;
    }
    // The oldest first: the deadlines are in order, and so is what most servers answer.
    const Request& oldest = flying.front();
    const int done = nbd_aio_command_completed(handle.nbd, oldest.cookie);
    if (done == 1) {
      flying.pop_front();
      continue;
    }
    if (done == -1) return give_up(handle.RequestError("deliver data", oldest.offset_bytes));
    if (handle.Broken()) return give_up(handle.RequestError("answer", oldest.offset_bytes));
    if (!handle.Turn(oldest.deadline)) {
      return give_up(TimeoutError("answer a read", handle.patience.request)
                         .With("offset_bytes", oldest.offset_bytes));
    }
  }
  return {};
}

namespace {

/// Collects the extents of one answer.
struct StatusAnswer {
  std::uint64_t begin_bytes = 0;
  std::uint64_t end_bytes = 0;  ///< of the range asked for
  std::uint64_t at_bytes = 0;
  std::size_t taken = 0;
  bool bad = false;
  std::vector<Extent> extents;

  void Take(std::uint64_t offset_bytes, std::span<const std::uint32_t> entries) {
    // NBD protocol, "NBD_REPLY_TYPE_BLOCK_STATUS": once for each context, from the request's
    // offset on, in pairs of length and flags; only the last may reach past what was asked for.
    if (offset_bytes != begin_bytes || at_bytes != begin_bytes || entries.size() % 2 != 0) {
      bad = true;
      return;
    }
    for (; entries.size() >= 2 && at_bytes < end_bytes; entries = entries.subspan(2)) {
      if (entries[0] == 0) bad = true;
      if (bad || ++taken > kMaxExtentsPerAnswer) return;
      const std::uint64_t length_bytes = std::min<std::uint64_t>(entries[0], end_bytes - at_bytes);
      const bool zero = (entries[1] & LIBNBD_STATE_ZERO) != 0;
      const bool hole = (entries[1] & LIBNBD_STATE_HOLE) != 0;
      // A hole that does not read as zeros is data: whatever it reads as is the guest's.
      AppendExtent(extents, {.offset_bytes = at_bytes,
                             .length_bytes = length_bytes,
                             .kind = !zero  ? ExtentKind::kData
                                     : hole ? ExtentKind::kHole
                                            : ExtentKind::kZero});
      at_bytes += length_bytes;
    }
  }
};

int OnExtents(void* data, const char* context, std::uint64_t offset_bytes, std::uint32_t* entries,
              std::size_t count, int* /*error*/) {
  if (std::strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0) return 0;
  static_cast<StatusAnswer*>(data)->Take(offset_bytes, {entries, count});
  return 0;
}

}  // namespace

Result<std::vector<Extent>> Connection::BlockStatus(std::uint64_t offset_bytes,
                                                    std::uint64_t length_bytes) {
  Handle& handle = *handle_;
  // As in Read: the handle is closed before `answer` goes away.
  const auto give_up = [&](Error error) {
    handle_.reset();
    return error;
  };
  StatusAnswer answer = {.begin_bytes = offset_bytes,
                         .end_bytes = offset_bytes + length_bytes,
                         .at_bytes = offset_bytes};
  const nbd_extent_callback callback = {
      .callback = OnExtents, .user_data = &answer, .free = nullptr};
  const std::int64_t cookie = nbd_aio_block_status(handle.nbd, length_bytes, offset_bytes, callback,
                                                   nbd_completion_callback{}, 0);
  if (cookie == -1) return give_up(handle.RequestError("take a request", offset_bytes));
  const Deadline deadline = handle.clock.DeadlineIn(handle.patience.request);
  while (true) {
    const int done = nbd_aio_command_completed(handle.nbd, static_cast<std::uint64_t>(cookie));
    if (done == 1) break;
    if (done == -1 || handle.Broken()) {
      return give_up(handle.RequestError("tell its extents", offset_bytes));
    }
    if (!handle.Turn(deadline)) {
      return give_up(TimeoutError("tell its extents", handle.patience.request)
                         .With("offset_bytes", offset_bytes));
    }
  }
  if (answer.bad || answer.extents.empty()) {
    return Error(ErrorCode::kDataLoss, "nbd.extents",
                 "the NBD server's list of extents is empty or contradicts itself")
        .With("offset_bytes", offset_bytes);
  }
  return std::move(answer.extents);
}

}  // namespace vmferry::image::nbd
