// SPDX-License-Identifier: Apache-2.0
//
// FakeHttpClient: answers in the order the test gave them, and remembers what was sent.
//
// Header only, so that the test library does not depend on http; link http where it is used.
//
// Thread safety: all methods may be called from any number of threads.

#pragma once

#include <deque>
#include <functional>

#include "base/byte_reader.h"
#include "base/mutex.h"
#include "http/client.h"

namespace vmferry::testing {

class FakeHttpClient final : public http::Client {
 public:
  /// A request as it was sent, with a copy of its body.
  struct Sent {
    std::string method;
    http::Url url;
    http::Headers headers;
    std::string body;

    std::string Header(std::string_view name) const {
      return std::string(headers.Find(name).value_or(""));
    }
  };
  using Responder = std::function<Result<http::Response>(const Sent&)>;

  void Answer(int status, std::string body = "", http::Headers headers = {}) {
    AnswerWith([=](const Sent&) -> Result<http::Response> {
      return http::Response{.status = status, .headers = headers, .body = body};
    });
  }
  void AnswerError(const Error& error) {
    AnswerWith([=](const Sent&) -> Result<http::Response> { return error; });
  }
  void AnswerWith(Responder responder) {
    const MutexLock lock(mutex_);
    script_.push_back(std::move(responder));
  }

  /// Everything sent so far.
  std::vector<Sent> sent() const {
    const MutexLock lock(mutex_);
    return sent_;
  }
  /// Answers that nobody asked for yet.
  std::size_t unused() const {
    const MutexLock lock(mutex_);
    return script_.size();
  }

  Result<http::Response> Send(const http::Request& request, const http::SendOptions& options,
                              const OpContext&) override {
    const Sent sent = {request.method, request.url, request.headers,
                       std::string(AsText(request.body))};
    Responder responder;
    {
      const MutexLock lock(mutex_);
      sent_.push_back(sent);
      if (script_.empty()) {
        return Error(ErrorCode::kInternal, "test.no_answer", "the script has no answer left");
      }
      responder = std::move(script_.front());
      script_.pop_front();
    }
    Result<http::Response> answer = responder(sent);
    if (answer && answer->body.size() > options.response_limit_bytes) {
      return Error(ErrorCode::kResourceExhausted, "http.too_large", "the answer is too long");
    }
    if (answer && options.sink && answer->status >= 200 && answer->status < 300) {
      VMFERRY_RETURN_IF_ERROR(options.sink(AsBytes(answer->body)));
      answer->body.clear();
    }
    return answer;
  }

 private:
  mutable Mutex mutex_;
  std::deque<Responder> script_ VMFERRY_GUARDED_BY(mutex_);
  std::vector<Sent> sent_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::testing
