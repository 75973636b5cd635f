// SPDX-License-Identifier: Apache-2.0
//
// The server over TLS, asked by libcurl (OpenSSL's client) with certificates of certificate.h.
#include <gtest/gtest.h>

#include "http/curl_client.h"
#include "http/server.h"
#include "sys/file.h"
#include "testing/temp_dir.h"

namespace vmferry::http {
namespace {

/// Answers with the body, or with a file.
class EchoExchange final : public Exchange {
 public:
  EchoExchange(RequestHead head, std::shared_ptr<const sys::File> file)
      : head_(std::move(head)), file_(std::move(file)) {}
  Result<void> Write(std::span<const std::byte> data) override {
    body_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
  }
  Reply Finish() override {
    Reply reply;
    reply.close = head_.target == "/close";
    if (head_.target == "/file") reply.file = FileRange{file_, 1, file_->Size().value_or(1) - 1};
    reply.body = std::move(body_);
    return reply;
  }

 private:
  const RequestHead head_;
  const std::shared_ptr<const sys::File> file_;
  std::string body_;
};

class TlsServerTest : public ::testing::Test, public Handler {
 protected:
  void SetUp() override {
    const std::vector<std::string> names = {"localhost"};
    const std::vector<std::string> addresses = {"127.0.0.1"};
    const WallTime now = clock_.WallNow();
    const auto authority = MakeAuthority("test", now);
    ASSERT_TRUE(authority);
    ASSERT_TRUE(sys::WriteWholeFile(folder_ / "ca.pem", authority->certificate));
    ServerOptions options;
    auto identity = IssueServerCertificate(*authority, names, addresses, now);
    ASSERT_TRUE(identity);
    options.tls = *identity;
    auto listening = Server::Listen(options, *this, log_);
    ASSERT_TRUE(listening) << listening.error().ToString();
    server_ = std::move(listening).value();
    server_->Start();
    large_ = std::string(3'000'001, 'x') + "end";
    ASSERT_TRUE(sys::WriteWholeFile(folder_ / "file", large_));
    file_ = std::make_shared<sys::File>(
        std::move(sys::File::Open(folder_ / "file", sys::File::Mode::kRead)).value());
  }
  std::unique_ptr<http::Exchange> Begin(RequestHead head) override {
    return std::make_unique<EchoExchange>(std::move(head), file_);
  }
  Reply Malformed(int status, std::string_view) override {
    Reply reply;
    reply.status = status;
    return reply;
  }

  Result<Response> Ask(Client& client, const std::string& scheme, const std::string& path,
                       std::string_view body = "") {
    Request request;
    request.method = body.empty() ? "GET" : "PUT";
    request.url.scheme = scheme;
    request.url.host = "127.0.0.1";
    request.url.port = server_->port();
    request.url.path = path;
    request.body = std::as_bytes(std::span(body));
    return client.Send(request, {}, {clock_.DeadlineIn(std::chrono::seconds(60)), {}});
  }

  testing::TempDir folder_;
  NullLog log_;
  sys::SystemClock clock_;
  std::string large_;
  std::shared_ptr<const sys::File> file_;
  std::unique_ptr<Server> server_;
};

TEST_F(TlsServerTest, SpeaksTlsAndPlainHttpOnOnePort) {
  CurlClient client(clock_, {.ca_file = (folder_ / "ca.pem").string()});
  for (const char* scheme : {"https", "http"}) {
    for (const char* path : {"/a", "/close", "/b"}) {
      const auto reply = Ask(client, scheme, path, large_);
      ASSERT_TRUE(reply) << reply.error().ToString();
      EXPECT_TRUE(reply->body == large_) << scheme << path;
    }
    const auto file = Ask(client, scheme, "/file");
    ASSERT_TRUE(file) << file.error().ToString();
    EXPECT_TRUE(file->body == large_.substr(1)) << scheme;
  }
}

TEST_F(TlsServerTest, IsNotBelievedWithoutItsAuthority) {
  CurlClient client(clock_, {});
  const auto reply = Ask(client, "https", "/a");
  EXPECT_FALSE(reply);
}

TEST_F(TlsServerTest, RefusesACertificateItCannotRead) {
  ServerOptions options;
  options.tls = CertifiedKey{"nonsense", Secret("nonsense")};
  const auto listening = Server::Listen(options, *this, log_);
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().reason(), "http.tls.bad_pem");
}

}  // namespace
}  // namespace vmferry::http
