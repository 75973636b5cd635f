// SPDX-License-Identifier: Apache-2.0
#include "http/curl_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "base/byte_reader.h"
#include "base/mutex.h"

namespace vmferry::http {
namespace {

constexpr long kCurlBufferBytes = 256 * 1024;
constexpr std::size_t kHeaderFieldsMax = 256;
// Longest nap: bounds how late a deadline of an injected clock is noticed.
constexpr std::chrono::milliseconds kPollMax{150};

bool IsLoopbackHost(std::string_view host) {
  return EqualsIgnoreCase(host, "localhost") || host.starts_with("127.") || host == "::1";
}

std::string Origin(const Url& url) { return url.scheme + "://" + url.HostHeader(); }

struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, ListDeleter>;

// One easy handle in a multi handle of its own: the multi handle keeps the connection, and can be
// woken from another thread, which an easy handle alone cannot.
struct Handle {
  std::unique_ptr<CURLM, MultiDeleter> multi{curl_multi_init()};
  std::unique_ptr<CURL, EasyDeleter> easy{curl_easy_init()};
  std::string origin;  // last peer, whose connection this handle keeps
};

// What libcurl's callbacks see of one Send.
struct Transfer {
  const Request& request;
  const SendOptions& options;
  Response response;
  std::size_t body_sent = 0;
  std::size_t body_received = 0;
  std::optional<Error> error;  // why a callback broke the transfer off

  bool Succeeded() const { return response.status >= 200 && response.status < 300; }
};

Error Refused(std::string_view reason, std::string message) {
  return Error(ErrorCode::kInvalidArgument, reason, std::move(message));
}

Error TooLarge(std::size_t limit) {
  return Error(ErrorCode::kResourceExhausted, "http.too_large",
               fmt::format("the answer is longer than {} bytes", limit));
}

std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string_view line(data, size * count);
  const std::size_t length = line.size();
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // also after an interim answer such as 100 Continue
    transfer.response = {};
    const std::size_t blank = std::min(line.find(' '), line.size());
    for (const char c : line.substr(std::min(blank + 1, line.size())).substr(0, 3)) {
      if (c >= '0' && c <= '9')
        transfer.response.status = transfer.response.status * 10 + (c - '0');
    }
    return length;
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return length;
  if (transfer.response.headers.fields().size() == kHeaderFieldsMax) {
    transfer.error = Error(ErrorCode::kUnavailable, "http.bad_response",
                           fmt::format("the answer has more than {} headers", kHeaderFieldsMax));
    return 0;
  }
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  transfer.response.headers.Add(line.substr(0, colon), value);
  return length;
}

std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view bytes(data, size * count);
  const std::size_t limit = transfer.options.response_limit_bytes;
  if (bytes.size() > limit - transfer.body_received) {
    transfer.error = TooLarge(limit);
    return 0;
  }
  transfer.body_received += bytes.size();
  if (transfer.options.sink && transfer.Succeeded()) {
    if (auto taken = transfer.options.sink(AsBytes(bytes)); !taken) {
      transfer.error = std::move(taken).error();
      return 0;
    }
  } else {
    transfer.response.body.append(bytes);
  }
  return bytes.size();
}

std::size_t OnUpload(char* buffer, std::size_t size, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const auto rest = transfer.request.body.subspan(transfer.body_sent);
  const std::size_t length = std::min(rest.size(), size * count);
  if (length != 0) std::memcpy(buffer, rest.data(), length);
  transfer.body_sent += length;
  return length;
}

// libcurl repeats a request by itself when a kept connection was dead. A POST may start something
// that must not start twice, so there the repetition is refused and the caller learns of the break.
int OnSeek(void* user, curl_off_t offset, int origin) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.request.method == "POST") return CURL_SEEKFUNC_FAIL;
  if (origin != SEEK_SET || offset < 0 ||
      static_cast<std::size_t>(offset) > transfer.request.body.size()) {
    return CURL_SEEKFUNC_FAIL;
  }
  transfer.body_sent = static_cast<std::size_t>(offset);
  return CURL_SEEKFUNC_OK;
}

Result<List> MakeHeaders(const Request& request) {
  List list;
  bool failed = false;
  const auto append = [&](const std::string& line) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    failed = failed || longer == nullptr;
    if (longer != nullptr && list.get() != longer) {
      static_cast<void>(list.release());  // it is the tail of the longer list
      list.reset(longer);
    }
  };
  for (const auto& [name, value] : request.headers.fields()) {
    constexpr std::string_view kForbidden("\r\n\0", 3);
    if (name.empty() || name.find_first_of(kForbidden) != name.npos ||
        name.find_first_of(":; ") != name.npos || value.find_first_of(kForbidden) != value.npos) {
      return Refused("http.bad_header", fmt::format("header {} cannot be sent", name));
    }
    append(value.empty() ? name + ";" : name + ": " + value);
  }
  append("Expect:");  // no pause before the body
  if (!request.headers.Find("content-type")) append("Content-Type:");
  if (!request.headers.Find("accept")) append("Accept:");
  if (failed) return Error(ErrorCode::kInternal, "http.failed", "libcurl could not keep a header");
  return list;
}

template <typename Value>
void Set(CURL* easy, CURLoption option, Value value) {
  // Fails only for options this libcurl does not know or when memory is out; the build fixes the
  // one, nothing handles the other.
  VMFERRY_CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK);
}

void SetMethod(CURL* easy, const Request& request) {
  if (request.method == "HEAD") {
    Set(easy, CURLOPT_NOBODY, 1L);
  } else if (!request.body.empty() || request.method == "PUT" || request.method == "POST") {
    Set(easy, CURLOPT_UPLOAD, 1L);
    Set(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    Set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else {
    Set(easy, CURLOPT_HTTPGET, 1L);
    Set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

void SetUp(CURL* easy, Transfer& transfer, const CurlOptions& options, const curl_slist* headers) {
  const Request& request = transfer.request;
  curl_easy_reset(easy);
  Set(easy, CURLOPT_URL, request.url.ToString().c_str());
  Set(easy, CURLOPT_PATH_AS_IS, 1L);
  Set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  Set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  Set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  Set(easy, CURLOPT_NOSIGNAL, 1L);
  Set(easy, CURLOPT_TCP_NODELAY, 1L);
  Set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  Set(easy, CURLOPT_QUICK_EXIT, 1L);  // a pending name look-up does not hold up a stop
  Set(easy, CURLOPT_BUFFERSIZE, kCurlBufferBytes);
  Set(easy, CURLOPT_UPLOAD_BUFFERSIZE, kCurlBufferBytes);
  Set(easy, CURLOPT_USERAGENT, options.user_agent.c_str());
  Set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  Set(easy, CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options.stall_bytes_per_second));
  Set(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_time.count()));
  if (!options.ca_file.empty()) Set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (IsLoopbackHost(request.url.host)) Set(easy, CURLOPT_PROXY, "");
  Set(easy, CURLOPT_HTTPHEADER, headers);
  Set(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  Set(easy, CURLOPT_HEADERDATA, &transfer);
  Set(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  Set(easy, CURLOPT_WRITEDATA, &transfer);
  Set(easy, CURLOPT_READFUNCTION, &OnUpload);
  Set(easy, CURLOPT_READDATA, &transfer);
  Set(easy, CURLOPT_SEEKFUNCTION, &OnSeek);
  Set(easy, CURLOPT_SEEKDATA, &transfer);
  SetMethod(easy, request);
}

Error ConnectFailed(const Url& url, std::string_view why) {
  Error error = Error(ErrorCode::kUnavailable, "http.connect_failed",
                      fmt::format("could not connect to {}: {}", Origin(url), why))
                    .WithRetry(Retry::kTransient);
  if (IsLoopbackHost(url.host)) {
    return std::move(error).WithRemedy(
        "is the region running? start it with: vmferry region start");
  }
  return std::move(error).WithRemedy("check the network, the region's name and the proxy settings");
}

Error ErrorFromCurl(CURLcode code, CURL* easy, const Request& request) {
  const std::string_view why = curl_easy_strerror(code);
  const std::string peer = Origin(request.url);
  long request_size = 0;
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_size);
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return ConnectFailed(request.url, why);
    case CURLE_OPERATION_TIMEDOUT:
      if (request_size == 0) return ConnectFailed(request.url, "no answer in time");
      return Error(ErrorCode::kUnavailable, "http.stalled",
                   fmt::format("the transfer with {} stood still", peer))
          .WithRetry(Retry::kTransient);
    case CURLE_SSL_CONNECT_ERROR:
      return Error(ErrorCode::kUnavailable, "http.tls_failed",
                   fmt::format("no TLS connection to {}: {}", peer, why))
          .WithRetry(Retry::kTransient);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
      return Error(ErrorCode::kUnavailable, "http.tls_failed",
                   fmt::format("{} is not trusted: {}", peer, why))
          .WithRemedy("name the file of certification authorities in AWS_CA_BUNDLE");
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
      return Error(ErrorCode::kUnavailable, "http.bad_response",
                   fmt::format("{} does not speak HTTP: {}", peer, why));
    case CURLE_URL_MALFORMAT:
      return Refused("http.bad_url", "libcurl does not accept the URL");
    default:
      return Error(ErrorCode::kUnavailable, "http.cut",
                   fmt::format("the connection with {} broke: {}", peer, why))
          .WithRetry(Retry::kTransient);
  }
}

}  // namespace

class CurlClient::Pool {
 public:
  /// A handle whose kept connection leads to `origin` if there is one.
  Handle Take(const std::string& origin) {
    {
      const MutexLock lock(mutex_);
      const auto same = std::find_if(idle_.rbegin(), idle_.rend(),
                                     [&](const Handle& idle) { return idle.origin == origin; });
      if (same != idle_.rend()) {
        Handle handle = std::move(*same);
        idle_.erase(std::next(same).base());
        return handle;
      }
    }
    Handle handle;
    handle.origin = origin;
    return handle;
  }

  void Return(Handle handle, std::size_t idle_max) {
    Handle oldest{.multi = nullptr, .easy = nullptr};  // closed after the lock
    const MutexLock lock(mutex_);
    idle_.push_back(std::move(handle));
    if (idle_.size() > idle_max) {
      oldest = std::move(idle_.front());
      idle_.erase(idle_.begin());
    }
  }

 private:
  Mutex mutex_;
  std::vector<Handle> idle_ VMFERRY_GUARDED_BY(mutex_);  // the most recently used last
};

namespace {

// Drives the transfer until it ends, the deadline passes or a stop is requested.
Result<void> Drive(Handle& handle, Transfer& transfer, sys::Clock& clock,
                   const OpContext& context) {
  CURLM* multi = handle.multi.get();
  const std::stop_callback wake(context.stop, [multi] { curl_multi_wakeup(multi); });
  while (true) {
    int running = 0;
    curl_multi_perform(multi, &running);
    if (running == 0) break;
    if (context.stop.stop_requested()) {
      return Error(ErrorCode::kCancelled, "http.stopped", "the request was given up on request");
    }
    const auto remaining = context.deadline.Remaining(clock.MonotonicNow());
    if (remaining.count() == 0) {
      return Error(ErrorCode::kDeadlineExceeded, "http.timeout",
                   fmt::format("no complete answer from {} in time", Origin(transfer.request.url)))
          .WithRetry(Retry::kTransient);
    }
    curl_multi_poll(multi, nullptr, 0, static_cast<int>(std::min(remaining, kPollMax).count()),
                    nullptr);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE || message->data.result == CURLE_OK) continue;
    if (transfer.error) return *std::move(transfer.error);
    return ErrorFromCurl(message->data.result, handle.easy.get(), transfer.request);
  }
  return {};
}

}  // namespace

CurlClient::CurlClient(sys::Clock& clock, CurlOptions options)
    : clock_(clock), options_(std::move(options)), pool_(std::make_unique<Pool>()) {
  // Once a process; libcurl keeps the state for itself.
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  VMFERRY_CHECK(initialised == CURLE_OK);
}

CurlClient::~CurlClient() = default;

Result<Response> CurlClient::Send(const Request& request, const SendOptions& options,
                                  const OpContext& context) {
  if (context.stop.stop_requested()) {
    return Error(ErrorCode::kCancelled, "http.stopped", "the request was not sent on request");
  }
  VMFERRY_ASSIGN_OR_RETURN(const List headers, MakeHeaders(request));
  Handle handle = pool_->Take(Origin(request.url));
  VMFERRY_CHECK(handle.multi != nullptr && handle.easy != nullptr);
  Transfer transfer{.request = request, .options = options};
  SetUp(handle.easy.get(), transfer, options_, headers.get());

  curl_multi_add_handle(handle.multi.get(), handle.easy.get());
  Result<void> driven = Drive(handle, transfer, clock_, context);
  curl_multi_remove_handle(handle.multi.get(), handle.easy.get());
  if (!driven) {
    // The handle goes, and with it a connection in an unknown state.
    return std::move(driven)
        .error()
        .With("url", request.url.ToLogString())
        .With("bytes_sent", static_cast<std::uint64_t>(transfer.body_sent));
  }
  curl_easy_reset(handle.easy.get());  // drops every pointer into this frame
  pool_->Return(std::move(handle), options_.idle_max);
  return std::move(transfer.response);
}

}  // namespace vmferry::http
