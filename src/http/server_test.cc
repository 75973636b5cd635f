// SPDX-License-Identifier: Apache-2.0
#include "http/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <thread>

#include "sys/clock.h"
#include "testing/temp_dir.h"

namespace vmferry::http {
namespace {

using std::chrono::milliseconds;

/// Answers with the method, target and body it was sent.
class EchoExchange final : public Exchange {
 public:
  EchoExchange(RequestHead head, std::atomic<int>& finished, std::shared_ptr<const sys::File> file)
      : head_(std::move(head)), finished_(finished), file_(std::move(file)) {}

  bool WantsBody() const override { return head_.target != "/refused"; }
  Result<void> Write(std::span<const std::byte> data) override {
    body_.append(reinterpret_cast<const char*>(data.data()), data.size());
    if (head_.target != "/fails") return {};
    return Error(ErrorCode::kResourceExhausted, "test.full", "full");
  }
  Reply Finish() override {
    ++finished_;
    Reply reply;
    if (head_.target == "/refused") reply.status = 403;
    if (head_.target == "/cut") reply.cut = true;
    if (head_.target == "/inject") reply.headers.Add("X-Test", "a\r\nInjected: b");
    if (head_.target == "/file") reply.file = FileRange{file_, 2, 3};
    reply.body = head_.method + " " + head_.target + " " + body_;
    return reply;
  }

 private:
  const RequestHead head_;
  std::atomic<int>& finished_;
  std::shared_ptr<const sys::File> file_;
  std::string body_;
};

class EchoHandler final : public Handler {
 public:
  std::unique_ptr<Exchange> Begin(RequestHead head) override {
    return std::make_unique<EchoExchange>(std::move(head), finished, file);
  }
  Reply Malformed(int status, std::string_view what) override {
    Reply reply;
    reply.status = status;
    reply.body = std::string(what);
    return reply;
  }
  std::atomic<int> finished{0};
  std::shared_ptr<const sys::File> file;
};

/// A raw connection to the server.
class Connection {
 public:
  explicit Connection(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    void* untyped = &address;
    EXPECT_EQ(::connect(socket_, static_cast<sockaddr*>(untyped), sizeof(address)), 0);
  }
  ~Connection() { ::close(socket_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Send(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t count = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  /// Reads until the connection ends, or until `enough` is in what came.
  std::string Receive(std::string_view enough = "") const {
    std::string text;
    while (enough.empty() || text.find(enough) == text.npos) {
      pollfd waiting = {socket_, POLLIN, 0};
      if (::poll(&waiting, 1, 5'000) <= 0) return text + "(nothing for 5 s)";
      std::array<char, 4096> buffer;
      const ssize_t count = ::recv(socket_, buffer.data(), buffer.size(), 0);
      if (count <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
    return text;
  }

 private:
  const int socket_;
};

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

class ServerTest : public ::testing::Test {
 protected:
  void Start(ServerOptions options = {}) {
    auto listening = Server::Listen(options, handler_, log_);
    ASSERT_TRUE(listening) << listening.error().ToString();
    server_ = std::move(listening).value();
    server_->Start();
  }
  std::string Exchange(std::string_view request) {
    const Connection connection(server_->port());
    connection.Send(request);
    return connection.Receive();
  }

  EchoHandler handler_;
  NullLog log_;
  sys::SystemClock clock_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnswersWithTheBodyItWasSent) {
  Start();
  const std::string reply = Exchange(
      "PUT /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
      "hello");
  EXPECT_TRUE(reply.starts_with("HTTP/1.1 200 OK\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\nPUT /a?b=c hello")) << reply;
  EXPECT_TRUE(Contains(reply, "Connection: close\r\n"));
}

TEST_F(ServerTest, KeepsTheConnectionForPipelinedRequests) {
  Start();
  const std::string reply = Exchange(
      "POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\n"
      "GET /3 HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(Contains(reply, "POST /1 abHTTP/1.1 200")) << reply;
  EXPECT_TRUE(reply.ends_with("GET /3 ")) << reply;
  EXPECT_EQ(handler_.finished, 3);
}

TEST_F(ServerTest, TakesChunkedBodies) {
  Start();
  const std::string reply = Exchange(
      "PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n");
  EXPECT_TRUE(reply.ends_with("PUT /c abcde")) << reply;
}

TEST_F(ServerTest, SendsContinueOnlyWhenTheBodyIsWanted) {
  Start();
  const Connection wanted(server_->port());
  wanted.Send("PUT /w HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(wanted.Receive("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.Send("ab");
  EXPECT_TRUE(Contains(wanted.Receive("PUT /w ab"), "200 OK"));
  // botocore counts on it for empty bodies, too.
  wanted.Send("PUT /e HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
  const std::string empty = wanted.Receive("PUT /e ");  // both may come at once
  EXPECT_TRUE(empty.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")) << empty;
  const std::string refused =
      Exchange("PUT /refused HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 403 ")) << refused;
}

TEST_F(ServerTest, ReadsARefusedBodyBeforeItAnswers) {
  Start();
  const std::string body(3'000'000, 'x');
  for (const char* target : {"/refused", "/fails"}) {
    const std::string reply =
        Exchange(std::string("PUT ") + target + " HTTP/1.1\r\nConnection: close\r\n" +
                 "Content-Length: 3000000\r\n\r\n" + body);
    EXPECT_TRUE(Contains(reply, "HTTP/1.1 ")) << target;
  }
}

TEST_F(ServerTest, AnnouncesButDoesNotSendTheBodyOfHead) {
  Start();
  const std::string reply = Exchange("HEAD /h HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(Contains(reply, "Content-Length: 8\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\n")) << reply;
}

TEST_F(ServerTest, SendsAPartOfAFile) {
  const testing::TempDir folder;
  ASSERT_TRUE(sys::WriteWholeFile(folder / "f", "0123456789"));
  auto file = sys::File::Open(folder / "f", sys::File::Mode::kRead);
  handler_.file = std::make_shared<sys::File>(std::move(file).value());
  Start();
  const std::string reply = Exchange("GET /file HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(Contains(reply, "Content-Length: 3\r\n")) << reply;
  EXPECT_TRUE(reply.ends_with("\r\n\r\n234")) << reply;
}

TEST_F(ServerTest, LetsNoHeaderOfAReplyBreakTheMessage) {
  Start();
  const std::string reply = Exchange("GET /inject HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(Contains(reply, "\r\nInjected")) << reply;
}

TEST_F(ServerTest, RefusesMalformedRequests) {
  Start();
  const std::pair<std::string, std::string_view> cases[] = {
      {"nonsense\r\n\r\n", "400"},
      {"GET / HTTP/9.9\r\n\r\n", "400"},
      {"GET /\x01 HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
      {"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "501"},
      {"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {"GET / HTTP/1.1\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n", "431"},
      {"PUT / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", "413"},
  };
  for (const auto& [request, status] : cases) {
    const std::string reply = Exchange(request);
    EXPECT_TRUE(reply.starts_with("HTTP/1.1 " + std::string(status)))
        << request.substr(0, 80) << "\n"
        << reply;
  }
  EXPECT_TRUE(Contains(Exchange("GET /ok HTTP/1.0\r\n\r\n"), "200 OK"));
}

TEST_F(ServerTest, CutsWithoutAReply) {
  Start();
  EXPECT_EQ(Exchange("GET /cut HTTP/1.1\r\n\r\n"), "");
  EXPECT_EQ(handler_.finished, 1);
}

TEST_F(ServerTest, DropsSlowHeadsAndBodiesAndIdleConnections) {
  ServerOptions options;
  options.header_timeout = milliseconds(100);
  options.stall_timeout = milliseconds(100);
  options.idle_timeout = milliseconds(100);
  Start(options);
  EXPECT_EQ(Exchange("GET / HTT"), "");
  EXPECT_EQ(Exchange("PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"), "");
  EXPECT_EQ(Exchange(""), "");
  EXPECT_EQ(handler_.finished, 0);
}

TEST_F(ServerTest, DropsABodyThatTricklesBelowTheLeastRate) {
  ServerOptions options;
  options.stall_timeout = milliseconds(300);
  options.body_bytes_per_second_min = 1000;
  Start(options);
  const Connection connection(server_->port());
  connection.Send("PUT / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
  const MonotonicTime start = clock_.MonotonicNow();
  for (int i = 0; i < 20; ++i) {  // a byte each 100 ms never stalls for 300 ms
    connection.Send("x");
    clock_.SleepFor(milliseconds(100), {});
  }
  EXPECT_EQ(connection.Receive(), "");
  EXPECT_EQ(handler_.finished, 0);
  EXPECT_LT(clock_.MonotonicNow() - start, std::chrono::seconds(4));
}

TEST_F(ServerTest, ServesOnWhenAllConnectionsAreTakenByIdlers) {
  ServerOptions options;
  options.connections_max = 4;
  Start(options);
  std::vector<std::unique_ptr<Connection>> idlers;
  for (int i = 0; i < 8; ++i) idlers.push_back(std::make_unique<Connection>(server_->port()));
  EXPECT_TRUE(Contains(Exchange("GET / HTTP/1.0\r\n\r\n"), "200 OK"));
}

TEST_F(ServerTest, SaysThatThePortIsInUse) {
  Start();
  ServerOptions options;
  options.port = server_->port();
  auto second = Server::Listen(options, handler_, log_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason(), "http.server.port_in_use");
}

TEST_F(ServerTest, ListensOnLoopbackOnly) {
  ServerOptions options;
  options.address = "0.0.0.0";
  auto refused = Server::Listen(options, handler_, log_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "http.server.not_loopback");
}

TEST_F(ServerTest, StopsWithConnectionsOpen) {
  Start();
  const Connection idle(server_->port());
  idle.Send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(Contains(idle.Receive("GET / "), "200 OK"));
  server_->Stop(clock_.DeadlineIn(milliseconds(2000)));
  EXPECT_EQ(idle.Receive(), "");
  EXPECT_EQ(server_->connections(), 0U);
}

}  // namespace
}  // namespace vmferry::http
