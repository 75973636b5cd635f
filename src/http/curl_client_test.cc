// SPDX-License-Identifier: Apache-2.0
#include "http/curl_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>

#include "base/byte_reader.h"
#include "base/mutex.h"

namespace vmferry::http {
namespace {

using std::chrono::milliseconds;

// One connection of the scripted server: reads requests, writes whatever the test says.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) {}

  /// The next request, head and body (by Content-Length); empty when the client hung up.
  std::string ReadRequest() {
    while (true) {
      const std::size_t head = buffer_.find("\r\n\r\n");
      if (head != std::string::npos) {
        std::size_t size = head + 4;
        const std::size_t length = buffer_.find("Content-Length: ");
        if (length != std::string::npos && length < head) {
          size += std::strtoul(buffer_.c_str() + length + 16, nullptr, 10);
        }
        if (buffer_.size() >= size) {
          std::string request = buffer_.substr(0, size);
          buffer_.erase(0, size);
          return request;
        }
      }
      if (!ReadMore()) return "";
    }
  }
  bool ReadMore() {
    char bytes[65536];
    const ssize_t count = recv(socket_, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    buffer_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }
  void Write(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }

 private:
  const int socket_;
  std::string buffer_;
};

// Runs `serve` for each connection, one thread each, until it is destroyed.
class RawServer {
 public:
  explicit RawServer(std::function<void(Peer&)> serve) : serve_(std::move(serve)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::jthread([this] { Accept(); });
  }
  ~RawServer() {
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      const MutexLock lock(mutex_);
      for (const int peer : sockets_) shutdown(peer, SHUT_RDWR);
    }
    threads_.clear();
    close(listener_);
  }

  Request MakeRequest(std::string method, std::string path = "/") const {
    Request request;
    request.method = std::move(method);
    request.url = {.scheme = "http", .host = "127.0.0.1", .port = port_, .path = std::move(path)};
    return request;
  }
  int connections() const { return connections_; }

 private:
  void Accept() {
    while (true) {
      const int peer = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) return;
      ++connections_;
      {
        const MutexLock lock(mutex_);
        sockets_.push_back(peer);
      }
      threads_.emplace_back([this, peer] {
        Peer connection(peer);
        serve_(connection);
        const MutexLock lock(mutex_);
        std::erase(sockets_, peer);
        close(peer);
      });
    }
  }

  std::function<void(Peer&)> serve_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0;
  Mutex mutex_;
  std::vector<int> sockets_ VMFERRY_GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
  std::jthread acceptor_;
};

class CurlClientTest : public ::testing::Test {
 protected:
  OpContext Within(milliseconds time) { return {.deadline = clock_.DeadlineIn(time)}; }
  sys::SystemClock clock_;
  CurlClient client_{clock_, {}};
};

TEST_F(CurlClientTest, SendsMethodPathHeadersAndBody) {
  std::string received;
  RawServer server([&](Peer& peer) {
    received = peer.ReadRequest();
    peer.Write("HTTP/1.1 201 Created\r\nETag:  \"x\" \r\nContent-Length: 2\r\n\r\nok");
  });
  Request request = server.MakeRequest("PUT", "/a/../b%2Fc");
  request.url.query = "q=1&X-Amz-Signature=s";
  request.headers = {{"X-One", "1"}, {"X-Empty", ""}, {"Host", "bucket.example"}};
  const std::string body(3'000'000, 'b');
  request.body = AsBytes(body);
  const auto response = client_.Send(request, {}, Within(milliseconds(10'000)));
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 201);
  EXPECT_EQ(response->headers.Find("etag"), "\"x\"");
  EXPECT_EQ(response->body, "ok");
  const std::string head = received.substr(0, received.find("\r\n\r\n"));
  EXPECT_TRUE(head.starts_with("PUT /a/../b%2Fc?q=1&X-Amz-Signature=s HTTP/1.1\r\n")) << head;
  EXPECT_NE(head.find("\r\nX-One: 1\r\n"), head.npos);
  EXPECT_NE(head.find("\r\nX-Empty:\r\n"), head.npos);
  EXPECT_NE(head.find("\r\nHost: bucket.example\r\n"), head.npos);
  EXPECT_NE(head.find("\r\nContent-Length: 3000000"), head.npos);
  for (const char* absent : {"Expect", "Content-Type", "Transfer-Encoding", "127.0.0.1"}) {
    EXPECT_EQ(head.find(absent), head.npos) << head;
  }
  EXPECT_EQ(received.substr(head.size() + 4), body);
}

TEST_F(CurlClientTest, SendsEmptyBodiesWithTheirLength) {
  std::string received;
  RawServer server([&](Peer& peer) {
    received = peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  ASSERT_TRUE(client_.Send(server.MakeRequest("PUT"), {}, Within(milliseconds(5000))));
  EXPECT_NE(received.find("Content-Length: 0"), received.npos) << received;
}

TEST_F(CurlClientTest, HeadHasNoBodyAndKeepsTheLength) {
  RawServer server([&](Peer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write("HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n");
    }
  });
  for (int i = 0; i < 3; ++i) {
    const auto response = client_.Send(server.MakeRequest("HEAD"), {}, Within(milliseconds(5000)));
    ASSERT_TRUE(response) << response.error().ToString();
    EXPECT_EQ(response->status, 404);
    EXPECT_EQ(response->headers.Find("content-length"), "99");
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(CurlClientTest, KeepsOneConnectionPerConcurrentCall) {
  RawServer server([&](Peer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    }
  });
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const auto response =
            client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(5000)));
        ASSERT_TRUE(response) << response.error().ToString();
        EXPECT_EQ(response->body, "ok");
      }
    });
  }
  threads.clear();
  EXPECT_LE(server.connections(), 4);
}

TEST_F(CurlClientTest, DoesNotFollowRedirects) {
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(5000)));
  ASSERT_TRUE(response) << response.error().ToString();
  EXPECT_EQ(response->status, 307);
}

TEST_F(CurlClientTest, GivesTheSinkOnlySuccessfulBodies) {
  std::atomic<int> status = 200;
  RawServer server([&](Peer& peer) {
    while (!peer.ReadRequest().empty()) {
      peer.Write("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: 4\r\n\r\nbody");
    }
  });
  std::string sunk;
  const SendOptions options{.sink = [&](std::span<const std::byte> bytes) -> Result<void> {
    sunk.append(AsText(bytes));
    return {};
  }};
  auto response = client_.Send(server.MakeRequest("GET"), options, Within(milliseconds(5000)));
  ASSERT_TRUE(response);
  EXPECT_EQ(sunk, "body");
  EXPECT_EQ(response->body, "");
  status = 500;
  response = client_.Send(server.MakeRequest("GET"), options, Within(milliseconds(5000)));
  ASSERT_TRUE(response);
  EXPECT_EQ(sunk, "body");
  EXPECT_EQ(response->body, "body");
}

TEST_F(CurlClientTest, PassesOnTheSinksError) {
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
  });
  const SendOptions options{.sink = [](std::span<const std::byte>) -> Result<void> {
    return Error(ErrorCode::kInternal, "test.full", "full");
  }};
  const auto response =
      client_.Send(server.MakeRequest("GET"), options, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "test.full");
}

TEST_F(CurlClientTest, RefusesAnAnswerPastTheLimit) {
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nelevenbytes");
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {.response_limit_bytes = 10},
                                     Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.too_large");
  EXPECT_EQ(response.error().retry(), Retry::kNever);
}

TEST_F(CurlClientTest, NamesTheRegionWhenLoopbackRefuses) {
  Request request;
  {
    RawServer server([](Peer&) {});
    request = server.MakeRequest("GET");
  }
  request.url.query = "X-Amz-Signature=secret";
  const auto response = client_.Send(request, {}, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.connect_failed");
  EXPECT_EQ(response.error().retry(), Retry::kTransient);
  EXPECT_NE(response.error().remedy().find("vmferry region start"), std::string::npos);
  EXPECT_EQ(response.error().ToString().find("secret"), std::string::npos);
  for (const auto& [key, value] : response.error().facts()) {
    EXPECT_EQ(value.find("secret"), std::string::npos) << key;
  }
}

TEST_F(CurlClientTest, ReachesLoopbackWithoutTheProxy) {
  setenv("http_proxy", "http://192.0.2.1:9", 1);  // NOLINT(concurrency-mt-unsafe): one thread yet
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(3000)));
  unsetenv("http_proxy");  // NOLINT(concurrency-mt-unsafe)
  EXPECT_TRUE(response) << response.error().ToString();
}

TEST_F(CurlClientTest, ReportsAConnectionCutInsideTheAnswer) {
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.cut");
  EXPECT_EQ(response.error().retry(), Retry::kTransient);
}

TEST_F(CurlClientTest, ReportsAnAnswerThatIsNotHttp) {
  RawServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Write("SSH-2.0-OpenSSH_9.2\r\n");
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.bad_response");
}

// ImportInstance is a POST: sent twice, it would import twice.
TEST_F(CurlClientTest, NeverSendsAPostTwiceWhenAKeptConnectionDies) {
  std::atomic<int> posts = 0;
  RawServer server([&](Peer& peer) {
    while (true) {
      const std::string request = peer.ReadRequest();
      if (request.starts_with("POST")) ++posts;
      if (!request.starts_with("GET")) return;  // swallowed, and the connection closed
      peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
  });
  ASSERT_TRUE(client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(5000))));
  Request post = server.MakeRequest("POST");
  post.body = AsBytes("Action=ImportInstance");
  const auto response = client_.Send(post, {}, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.cut");
  EXPECT_EQ(posts, 1);
}

TEST_F(CurlClientTest, EndsAtTheDeadline) {
  RawServer server([](Peer& peer) {
    while (peer.ReadMore()) {
    }
  });
  const MonotonicTime start = clock_.MonotonicNow();
  const auto response = client_.Send(server.MakeRequest("GET"), {}, Within(milliseconds(100)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.timeout");
  EXPECT_LT(clock_.MonotonicNow() - start, milliseconds(1000));  // 200 ms, and a slow machine
}

TEST_F(CurlClientTest, EndsOnStop) {
  RawServer server([](Peer& peer) {
    while (peer.ReadMore()) {
    }
  });
  std::stop_source stop;
  OpContext context = Within(milliseconds(20'000));
  context.stop = stop.get_token();
  MonotonicTime stopped;
  std::jthread stopper([&] {
    clock_.SleepUntil(clock_.MonotonicNow() + milliseconds(50), {});
    stopped = clock_.MonotonicNow();
    stop.request_stop();
  });
  const auto response = client_.Send(server.MakeRequest("GET"), {}, context);
  stopper.join();
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.stopped");
  EXPECT_EQ(response.error().code(), ErrorCode::kCancelled);
  EXPECT_LT(clock_.MonotonicNow() - stopped, milliseconds(1000));
  EXPECT_FALSE(client_.Send(server.MakeRequest("GET"), {}, context)) << "stopped before it began";
}

TEST_F(CurlClientTest, NoticesATransferThatStandsStill) {
  RawServer server([](Peer& peer) {
    peer.ReadRequest();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    while (peer.ReadMore()) {
    }
  });
  CurlClient impatient(clock_, {.stall_time = std::chrono::seconds(1)});
  const auto response = impatient.Send(server.MakeRequest("GET"), {}, Within(milliseconds(20'000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.stalled");
  EXPECT_EQ(response.error().retry(), Retry::kTransient);
}

TEST_F(CurlClientTest, RefusesHeadersWithLineBreaks) {
  RawServer server([](Peer&) {});
  for (const Headers::Field& bad : {Headers::Field{"X", "a\r\nY: b"},
                                    {"X\n", "a"},
                                    {"", "a"},
                                    {"X:Y", "a"},
                                    {"X", std::string("a\0b", 3)}}) {
    Request request = server.MakeRequest("GET");
    request.headers.Add(bad.first, bad.second);
    const auto response = client_.Send(request, {}, Within(milliseconds(5000)));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().reason(), "http.bad_header");
  }
}

TEST_F(CurlClientTest, RefusesAServerThatSpeaksNoTls) {
  RawServer server([](Peer& peer) {
    peer.ReadMore();
    peer.Write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  Request request = server.MakeRequest("GET");
  request.url.scheme = "https";
  const auto response = client_.Send(request, {}, Within(milliseconds(5000)));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().reason(), "http.tls_failed");
}

}  // namespace
}  // namespace vmferry::http
