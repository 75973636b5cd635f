// SPDX-License-Identifier: Apache-2.0
#include "http/server.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"

namespace vmferry::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace parsing = boost::beast::http;
using Tcp = asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr std::size_t kReadBytes = 256 * kKiB;
constexpr std::size_t kWriteBytes = kMiB;
// A refused body up to this is read and dropped, so that the client sees the reply instead of a
// reset connection: more than the 10 MiB parts of an import.
constexpr std::uint64_t kDropBytesMax = 16 * kMiB;
constexpr milliseconds kSweepInterval{250};
constexpr milliseconds kLingerTimeout{2'000};
constexpr milliseconds kIdleTimeoutWhenFull{2'000};
constexpr std::uint64_t kSendFileTurnBytes = 8 * kMiB;
constexpr std::size_t kTlsFileBytes = 256 * kKiB;
constexpr unsigned char kTlsHandshakeRecord = 0x16;  // RFC 8446, section 5.1: ContentType

bool HasToken(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view item = list.substr(0, comma);
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (EqualsIgnoreCase(item, token)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

/// Header values come from handlers and may hold what a client sent: no line ends, no controls.
void AppendClean(std::string& out, std::string_view value) {
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    out.push_back(byte < 0x20 && c != '\t' ? ' ' : c);
  }
}

bool StatusHasNoBody(int status) { return status == 204 || status == 304 || status < 200; }

/// A TCP connection that may have become a TLS one. Reads and writes as Asio's and Beast's composed
/// operations want it.
class Channel {
 public:
  using executor_type = Tcp::socket::executor_type;
  using Tls = asio::ssl::stream<Tcp::socket&>;

  explicit Channel(Tcp::socket socket) : socket_(std::move(socket)) {}

  executor_type get_executor() { return socket_.get_executor(); }
  Tcp::socket& socket() { return socket_; }
  Tls* tls() { return tls_ ? &*tls_ : nullptr; }
  void BeginTls(asio::ssl::context& context) { tls_.emplace(socket_, context); }

  template <typename Buffers, typename Token>
  void async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    socket_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <typename Buffers, typename Token>
  void async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    socket_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Tcp::socket socket_;
  std::optional<Tls> tls_;
};

class Session;

}  // namespace

struct Server::State {
  State(const ServerOptions& options_in, Handler& handler_in, Log& log_in)
      : options(options_in), handler(handler_in), log(log_in) {}

  void Accept();
  void AcceptLater();
  void Sweep();
  void Add(Session* session, std::weak_ptr<Session> weak);
  void Remove(Session* session);
  std::vector<std::shared_ptr<Session>> Sessions();
  std::size_t Count();

  const ServerOptions options;
  Handler& handler;
  Log& log;
  std::uint16_t port = 0;
  std::optional<asio::ssl::context> tls;
  std::atomic<bool> stopping{false};  // relaxed would do: only read to refuse new work

  Mutex mutex;
  std::condition_variable_any changed;
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions VMFERRY_GUARDED_BY(mutex);

  // Destroyed before the members above: its handlers own the sessions.
  asio::io_context io;
  asio::strand<asio::io_context::executor_type> strand = asio::make_strand(io);
  Tcp::acceptor acceptor{strand};
  asio::steady_timer sweep_timer{strand};
  bool accepting = false;  // on the strand
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  std::unique_ptr<asio::thread_pool> pool;
  std::vector<std::jthread> threads;
};

namespace {

/// One connection. Straight-line version of what the callbacks do:
///
///   if (first byte begins a TLS handshake) do it;
///   while (true) {
///     wait for a first byte (idle_timeout); read the head (header_timeout);
///     exchange = handler.Begin(head); answer "100 Continue" if asked;
///     while (body) exchange->Write(bytes);
///     reply = exchange->Finish();  // on the pool
///     write reply;
///     if (close) { shut down, read what still comes for a moment, close; break; }
///   }
///
/// All but Finish runs on the session's strand. shared_ptr: each pending callback holds one.
class Session final : public std::enable_shared_from_this<Session> {
 public:
  Session(Server::State& server, Tcp::socket socket)
      : server_(server),
        channel_(std::move(socket)),
        socket_(channel_.socket()),
        buffer_(server.options.header_bytes_max + 64 * kKiB) {}
  ~Session() { server_.Remove(this); }

  void Start() {
    error_code ignored;
    socket_.set_option(Tcp::no_delay(true), ignored);
    socket_.native_non_blocking(true, ignored);
    server_.Add(this, weak_from_this());
    if (!server_.tls) return NextRequest();
    idle_ = true;
    idle_since_ = Now();
    deadline_ = idle_since_ + server_.options.idle_timeout;
    Sniff();
  }

  auto executor() { return socket_.get_executor(); }

  /// On the strand: closes when the time allowed for the present step is over.
  void CloseIfLate(SteadyTime now, bool full) {
    const bool idle_when_full = full && idle_ && now >= idle_since_ + kIdleTimeoutWhenFull;
    if (now >= deadline_ || idle_when_full) Close();
  }
  /// On the strand: the server stops.
  void CloseWhenDone() {
    keep_alive_ = false;
    if (idle_) Close();
  }
  void Close() {
    error_code ignored;
    socket_.close(ignored);
  }

 private:
  static SteadyTime Now() { return std::chrono::steady_clock::now(); }

  /// Looks at the first byte, which stays where it is.
  void Sniff() {
    socket_.async_wait(Tcp::socket::wait_read, [self = shared_from_this()](error_code error) {
      if (error) return self->Close();
      unsigned char first = 0;
      const ssize_t count = ::recv(self->socket_.native_handle(), &first, 1, MSG_PEEK);
      if (count < 0 && (errno == EAGAIN || errno == EINTR)) return self->Sniff();
      if (count <= 0) return self->Close();
      if (first == kTlsHandshakeRecord) return self->Handshake();
      self->NextRequest();
    });
  }

  void Handshake() {
    idle_ = false;
    deadline_ = Now() + server_.options.header_timeout;
    channel_.BeginTls(*server_.tls);
    channel_.tls()->async_handshake(asio::ssl::stream_base::server,
                                    [self = shared_from_this()](error_code error) {
                                      if (error) return self->Close();
                                      self->NextRequest();
                                    });
  }

  /// A client that takes this server for a proxy: TLS with us follows, whatever it asked for.
  void AnswerConnect() {
    static constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";
    deadline_ = Now() + server_.options.stall_timeout;
    asio::async_write(channel_, asio::buffer(kEstablished),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->Close();
                        self->Sniff();
                      });
  }

  void NextRequest() {
    if (server_.stopping.load()) return Close();
    exchange_.reset();
    parser_.emplace();
    parser_->header_limit(server_.options.header_bytes_max);
    parser_->body_limit(boost::none);
    chunk_parser_.reset();
    if (buffer_.size() > 0) return ReadHead();
    idle_ = true;
    idle_since_ = Now();
    deadline_ = idle_since_ + server_.options.idle_timeout;
    channel_.async_read_some(buffer_.prepare(16 * kKiB),
                             [self = shared_from_this()](error_code error, std::size_t count) {
                               if (error) return self->Close();
                               self->buffer_.commit(count);
                               self->ReadHead();
                             });
  }

  void ReadHead() {
    idle_ = false;
    deadline_ = Now() + server_.options.header_timeout;
    parsing::async_read_header(
        channel_, buffer_, *parser_,
        [self = shared_from_this()](error_code error, std::size_t) { self->OnHead(error); });
  }

  void OnHead(error_code error) {
    if (error == parsing::error::header_limit || error == parsing::error::buffer_overflow) {
      return RefuseHead(431, "the request's header fields are too long");
    }
    if (error == parsing::error::end_of_stream || error == parsing::error::partial_message) {
      return Close();
    }
    if (error.category() == parsing::make_error_code(parsing::error::bad_method).category()) {
      return RefuseHead(400, error.message());
    }
    if (error) return Close();
    const auto& message = parser_->get();
    is_head_ = message.method() == parsing::verb::head;
    keep_alive_ = message.keep_alive();
    http_1_0_ = message.version() < 11;
    if (message.find(parsing::field::transfer_encoding) != message.end() && !parser_->chunked()) {
      return RefuseHead(501, "unknown transfer encoding");
    }
    if (message.method() == parsing::verb::connect && server_.tls && channel_.tls() == nullptr &&
        buffer_.size() == 0) {
      return AnswerConnect();
    }
    RequestHead head;
    head.method = std::string(message.method_string());
    head.target = std::string(message.target());
    for (const auto& field : message) {
      head.headers.Add(std::string_view(field.name_string().data(), field.name_string().size()),
                       std::string_view(field.value().data(), field.value().size()));
    }
    remaining_ = 0;
    if (!parser_->chunked()) {
      if (parser_->content_length()) remaining_ = *parser_->content_length();
      head.content_length_bytes = remaining_;
    }
    BeginExchange(std::move(head));
  }

  void BeginExchange(RequestHead head) {
    const auto expect = head.headers.Find("expect");
    const bool wait_100 = expect && HasToken(*expect, "100-continue") && !http_1_0_;
    const bool chunked = parser_->chunked();
    received_ = 0;
    filled_ = 0;
    dropped_ = 0;
    body_since_ = Now();
    if (remaining_ > server_.options.body_bytes_max) {
      return RefuseHead(413, "the request's body is too long");
    }
    exchange_ = server_.handler.Begin(std::move(head));
    dropping_ = !exchange_->WantsBody();
    // Also for a body of no bytes: after a reply without it, botocore misreads the next one that
    // comes with it on the same connection.
    if (!chunked && remaining_ == 0 && !wait_100) return Finish();
    if (dropping_ && (wait_100 || remaining_ > kDropBytesMax)) {
      keep_alive_ = false;
      return Finish();
    }
    if (chunked) {
      chunk_parser_.emplace(std::move(*parser_));
      chunk_parser_->body_limit(boost::none);
    }
    if (body_buffer_.empty()) body_buffer_.resize(kReadBytes);
    if (!wait_100) return ReadBody();
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    deadline_ = Now() + server_.options.stall_timeout;
    asio::async_write(channel_, asio::buffer(kContinue),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->Close();
                        self->ReadBody();
                      });
  }

  void ReadBody() {
    // Not too long without a byte, and not too slow on the whole.
    const auto earned =
        std::chrono::seconds((received_ + filled_) /
                             std::max<std::uint64_t>(server_.options.body_bytes_per_second_min, 1));
    const SteadyTime slow = body_since_ + server_.options.stall_timeout + earned;
    deadline_ = std::min(Now() + server_.options.stall_timeout, slow);
    if (chunk_parser_) return ReadChunks();
    if (remaining_ == 0) return BodyDone();
    const auto room = std::span(body_buffer_).subspan(filled_);
    if (buffer_.size() > 0) {  // what came with the head
      const std::size_t count = static_cast<std::size_t>(
          std::min<std::uint64_t>(std::min(buffer_.size(), room.size()), remaining_));
      std::memcpy(room.data(), buffer_.data().data(), count);
      buffer_.consume(count);
      return OnBody(count);
    }
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), remaining_));
    channel_.async_read_some(asio::buffer(room.data(), want),
                             [self = shared_from_this()](error_code error, std::size_t count) {
                               if (error) return self->Close();
                               self->OnBody(count);
                             });
  }

  /// Whole buffers go on, not what each read brought: files are then written in large aligned
  /// steps.
  void OnBody(std::size_t count) {
    remaining_ -= count;
    filled_ += count;
    if (remaining_ > 0 && filled_ < body_buffer_.size()) return ReadBody();
    const auto full = std::span(body_buffer_).first(filled_);
    filled_ = 0;
    if (Feed(full)) ReadBody();
  }

  void ReadChunks() {
    if (chunk_parser_->is_done()) return BodyDone();
    auto& body = chunk_parser_->get().body();
    body.data = body_buffer_.data();
    body.size = body_buffer_.size();
    body.more = true;
    parsing::async_read_some(
        channel_, buffer_, *chunk_parser_,
        [self = shared_from_this()](error_code error, std::size_t) {
          if (error == parsing::error::need_buffer) error = {};
          if (error == parsing::error::end_of_stream || error == parsing::error::partial_message) {
            return self->Close();
          }
          if (error.category() == parsing::make_error_code(parsing::error::bad_chunk).category()) {
            return self->RefuseHead(400, error.message());
          }
          if (error) return self->Close();
          const std::size_t count =
              self->body_buffer_.size() - self->chunk_parser_->get().body().size;
          if (self->received_ + count > self->server_.options.body_bytes_max) {
            return self->RefuseHead(413, "the request's body is too long");
          }
          if (self->Feed(std::span(self->body_buffer_).first(count))) self->ReadBody();
        });
  }

  /// Gives bytes to the exchange, or drops them. False when the reply goes out without the rest.
  bool Feed(std::span<const std::byte> data) {
    received_ += data.size();
    if (!dropping_ && !data.empty() && !exchange_->Write(data)) dropping_ = true;
    if (!dropping_) return true;
    dropped_ += data.size();
    if (dropped_ <= kDropBytesMax && remaining_ <= kDropBytesMax) return true;
    keep_alive_ = false;
    Finish();
    return false;
  }

  void BodyDone() {
    body_buffer_ = {};
    Finish();
  }

  void Finish() {
    deadline_ = SteadyTime::max();
    asio::post(*server_.pool, [self = shared_from_this()] {
      Reply reply;
      try {
        reply = self->exchange_->Finish();
      } catch (const std::exception& exception) {
        self->server_.log.Warn("request handler failed", {{"what", exception.what()}});
        reply = self->server_.handler.Malformed(500, "internal error");
        reply.close = true;
      }
      self->exchange_.reset();
      asio::post(self->executor(),
                 [self, moved = std::move(reply)]() mutable { self->Send(std::move(moved)); });
    });
  }

  void RefuseHead(int status, std::string_view what) {
    Reply reply = server_.handler.Malformed(status, what);
    reply.close = true;
    Send(std::move(reply));
  }

  void Send(Reply reply) {
    if (reply.cut) {
      error_code ignored;
      socket_.set_option(asio::socket_base::linger(true, 0), ignored);
      return Close();
    }
    reply_ = std::move(reply);
    if (reply_.close || server_.stopping.load()) keep_alive_ = false;
    const bool no_body = is_head_ || StatusHasNoBody(reply_.status);
    std::uint64_t length = reply_.file ? reply_.file->length_bytes : reply_.body.size();
    if (is_head_ && reply_.announced_length_bytes) length = *reply_.announced_length_bytes;
    head_ = fmt::format("HTTP/1.1 {} {}\r\n", reply_.status, StatusPhrase(reply_.status));
    for (const auto& [name, value] : reply_.headers.fields()) {
      head_ += name;
      head_ += ": ";
      AppendClean(head_, value);
      head_ += "\r\n";
    }
    if (!StatusHasNoBody(reply_.status)) head_ += fmt::format("Content-Length: {}\r\n", length);
    if (!keep_alive_) head_ += "Connection: close\r\n";
    if (keep_alive_ && http_1_0_) head_ += "Connection: keep-alive\r\n";
    head_ += "\r\n";
    if (no_body) {
      reply_.body.clear();
      reply_.file.reset();
    }
    written_ = 0;
    WriteMore();
  }

  /// Head and body in steps of at most kWriteBytes, each within the stall timeout.
  void WriteMore() {
    deadline_ = Now() + server_.options.stall_timeout;
    std::array<asio::const_buffer, 2> buffers;
    buffers[0] = written_ == 0 ? asio::buffer(head_) : asio::const_buffer();
    const std::size_t count =
        reply_.file ? 0 : std::min(kWriteBytes, reply_.body.size() - written_);
    buffers[1] = asio::buffer(reply_.body.data() + written_, count);
    const bool first = written_ == 0;
    if (!first && count == 0) return Sent();
    asio::async_write(channel_, buffers,
                      [self = shared_from_this(), count](error_code error, std::size_t) {
                        if (error) return self->Close();
                        if (self->reply_.file) return self->SendFile();
                        self->written_ += count;
                        if (self->written_ >= self->reply_.body.size()) return self->Sent();
                        self->WriteMore();
                      });
  }

  /// Through TLS there is no sendfile.
  void SendFileThroughTls() {
    FileRange& range = *reply_.file;
    if (range.length_bytes == 0) return Sent();
    deadline_ = Now() + server_.options.stall_timeout;
    if (body_buffer_.size() < kTlsFileBytes) body_buffer_.resize(kTlsFileBytes);
    const auto step = std::span(body_buffer_)
                          .first(static_cast<std::size_t>(
                              std::min<std::uint64_t>(range.length_bytes, kTlsFileBytes)));
    if (!range.file->ReadAt(range.offset_bytes, step)) return Close();
    range.offset_bytes += step.size();
    range.length_bytes -= step.size();
    asio::async_write(channel_, asio::buffer(step.data(), step.size()),
                      [self = shared_from_this()](error_code error, std::size_t) {
                        if (error) return self->Close();
                        self->SendFileThroughTls();
                      });
  }

  void SendFile() {
    if (channel_.tls() != nullptr) return SendFileThroughTls();
    FileRange& range = *reply_.file;
    deadline_ = Now() + server_.options.stall_timeout;
    std::uint64_t turn = 0;
    while (range.length_bytes > 0 && turn < kSendFileTurnBytes) {
      auto offset = static_cast<off_t>(range.offset_bytes);
      const auto want =
          static_cast<std::size_t>(std::min<std::uint64_t>(range.length_bytes, kSendFileTurnBytes));
      const ssize_t sent =
          ::sendfile(socket_.native_handle(), range.file->descriptor(), &offset, want);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) break;
      if (sent <= 0) return Close();  // unreadable or shorter than promised
      range.offset_bytes += static_cast<std::uint64_t>(sent);
      range.length_bytes -= static_cast<std::uint64_t>(sent);
      turn += static_cast<std::uint64_t>(sent);
    }
    if (range.length_bytes == 0) return Sent();
    socket_.async_wait(Tcp::socket::wait_write, [self = shared_from_this()](error_code error) {
      if (error) return self->Close();
      self->SendFile();
    });
  }

  void Sent() {
    reply_ = {};
    body_buffer_ = {};
    if (keep_alive_) return NextRequest();
    deadline_ = Now() + kLingerTimeout;
    if (channel_.tls() == nullptr) return ShutDown();
    channel_.tls()->async_shutdown([self = shared_from_this()](error_code) { self->ShutDown(); });
  }

  void ShutDown() {
    error_code ignored;
    socket_.shutdown(Tcp::socket::shutdown_send, ignored);
    if (body_buffer_.empty()) body_buffer_.resize(16 * kKiB);
    Linger();
  }

  /// Reads what the client still sends: closing with unread bytes would reset the connection and
  /// could take the reply with it.
  void Linger() {
    socket_.async_read_some(asio::buffer(body_buffer_),
                            [self = shared_from_this()](error_code error, std::size_t) {
                              if (error) return self->Close();
                              self->Linger();
                            });
  }

  Server::State& server_;
  Channel channel_;
  Tcp::socket& socket_;  // the one inside the channel
  beast::flat_buffer buffer_;
  std::optional<parsing::request_parser<parsing::empty_body>> parser_;
  std::optional<parsing::request_parser<parsing::buffer_body>> chunk_parser_;
  std::unique_ptr<Exchange> exchange_;
  std::vector<std::byte> body_buffer_;  // only while a body arrives
  std::uint64_t remaining_ = 0;         // of a body with a length
  std::uint64_t received_ = 0;
  std::size_t filled_ = 0;  // of body_buffer_, not yet given on
  std::uint64_t dropped_ = 0;
  bool dropping_ = false;
  bool is_head_ = false;
  bool keep_alive_ = true;
  bool http_1_0_ = false;
  bool idle_ = false;
  SteadyTime idle_since_;
  SteadyTime body_since_;
  SteadyTime deadline_ = SteadyTime::max();
  Reply reply_;
  std::string head_;
  std::size_t written_ = 0;
};

}  // namespace

void Server::State::Accept() {
  if (accepting || stopping.load() || !acceptor.is_open()) return;
  if (Count() >= options.connections_max) return;  // the next sweep tries again
  accepting = true;
  acceptor.async_accept(asio::make_strand(io), [this](error_code error, Tcp::socket socket) {
    accepting = false;
    if (error == asio::error::operation_aborted) return;
    if (error) return;  // out of descriptors, say: the next sweep tries again
    auto session = std::make_shared<Session>(*this, std::move(socket));
    asio::post(session->executor(), [session] { session->Start(); });
    Accept();
  });
}

void Server::State::Sweep() {
  sweep_timer.expires_after(kSweepInterval);
  sweep_timer.async_wait([this](error_code error) {
    if (error) return;
    const SteadyTime now = std::chrono::steady_clock::now();
    std::vector<std::shared_ptr<Session>> open = Sessions();
    const bool full = open.size() + open.size() / 8 >= options.connections_max;
    for (auto& session : open) {
      auto run = [session, now, full] { session->CloseIfLate(now, full); };
      asio::post(session->executor(), std::move(run));
    }
    Accept();
    Sweep();
  });
}

void Server::State::Add(Session* session, std::weak_ptr<Session> weak) {
  const MutexLock lock(mutex);
  sessions.emplace(session, std::move(weak));
}

void Server::State::Remove(Session* session) {
  const MutexLock lock(mutex);
  sessions.erase(session);
  changed.notify_all();
}

std::vector<std::shared_ptr<Session>> Server::State::Sessions() {
  std::vector<std::shared_ptr<Session>> out;
  const MutexLock lock(mutex);
  out.reserve(sessions.size());
  for (const auto& [pointer, weak] : sessions) {
    if (auto session = weak.lock()) out.push_back(std::move(session));
  }
  return out;
}

std::size_t Server::State::Count() {
  const MutexLock lock(mutex);
  return sessions.size();
}

namespace {

Result<void> SetUpTls(const CertifiedKey& identity, std::optional<asio::ssl::context>& out) {
  asio::ssl::context context(asio::ssl::context::tls_server);
  context.set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  // Idle sessions keep no buffers.
  SSL_CTX_set_mode(context.native_handle(), SSL_MODE_RELEASE_BUFFERS);
  error_code error;
  context.use_certificate_chain(asio::buffer(identity.certificate), error);
  if (!error) {
    context.use_private_key(asio::buffer(identity.key.Expose()), asio::ssl::context::pem, error);
  }
  if (error) {
    return Error(ErrorCode::kDataLoss, "http.tls.bad_pem",
                 "the server's certificate or key cannot be read: " + error.message());
  }
  out.emplace(std::move(context));
  return {};
}

}  // namespace

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Server>> Server::Listen(const ServerOptions& options, Handler& handler,
                                               Log& log) {
  error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  if (error || !address.is_loopback()) {
    return Error(ErrorCode::kInvalidArgument, "http.server.not_loopback",
                 fmt::format("'{}' is not a loopback address", options.address))
        .WithRemedy("use 127.0.0.1");
  }
  auto state = std::make_unique<State>(options, handler, log);
  if (options.tls) VMFERRY_RETURN_IF_ERROR(SetUpTls(*options.tls, state->tls));
  const Tcp::endpoint endpoint(address, options.port);
  const auto failed = [&](std::string_view step) -> Error {
    if (error == asio::error::address_in_use) {
      return Error(ErrorCode::kAlreadyExists, "http.server.port_in_use",
                   fmt::format("port {} is in use by another program", options.port))
          .WithRemedy("choose another port, or port 0 for any free one");
    }
    return Error(
        ErrorCode::kUnavailable, "http.server.listen_failed",
        fmt::format("cannot {} {}:{}: {}", step, options.address, options.port, error.message()));
  };
  if (state->acceptor.open(endpoint.protocol(), error)) return failed("open a socket for");
  state->acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (state->acceptor.bind(endpoint, error)) return failed("bind");
  if (state->acceptor.listen(1024, error)) return failed("listen on");
  state->port = state->acceptor.local_endpoint(error).port();
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::~Server() { Stop(Deadline::At(MonotonicTime::min())); }

std::uint16_t Server::port() const { return state_->port; }

std::size_t Server::connections() const { return state_->Count(); }

void Server::Start() {
  VMFERRY_CHECK(state_->threads.empty());
  state_->pool = std::make_unique<asio::thread_pool>(state_->options.handler_threads);
  asio::post(state_->strand, [state = state_.get()] {
    state->Accept();
    state->Sweep();
  });
  for (unsigned i = 0; i < state_->options.network_threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] {
      // sendfile to a closed connection raises SIGPIPE, which would end the process.
      sigset_t signals;
      sigemptyset(&signals);
      sigaddset(&signals, SIGPIPE);
      pthread_sigmask(SIG_BLOCK, &signals, nullptr);
      state->io.run();
    });
  }
}

void Server::Stop(Deadline deadline) {
  if (state_->threads.empty()) return;
  state_->stopping.store(true);
  asio::post(state_->strand, [state = state_.get()] {
    error_code ignored;
    state->acceptor.close(ignored);
  });
  for (auto& session : state_->Sessions()) {
    asio::post(session->executor(), [session] { session->CloseWhenDone(); });
  }
  {
    const MutexLock lock(state_->mutex);
    while (!state_->sessions.empty()) {
      if (state_->changed.wait_until(state_->mutex, deadline.when()) == std::cv_status::timeout) {
        break;
      }
    }
  }
  state_->pool->join();  // handlers end by themselves; what they answer is no longer sent
  state_->io.stop();
  state_->threads.clear();
}

std::string_view StatusPhrase(int status) {
  const parsing::status known = parsing::int_to_status(static_cast<unsigned>(status));
  if (known == parsing::status::unknown) return "Status";
  const auto phrase = parsing::obsolete_reason(known);
  return {phrase.data(), phrase.size()};
}

}  // namespace vmferry::http
