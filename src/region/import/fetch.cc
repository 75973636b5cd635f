// SPDX-License-Identifier: Apache-2.0
#include "region/import/fetch.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "region/import/local_url.h"
#include "sigv4/sign.h"

namespace vmferry::region {
namespace {

constexpr std::chrono::minutes kRequestTime{30};  // a whole disk, but it comes over loopback

// Writes the data but for aligned blocks of zeros.
Result<void> WriteSparse(const sys::File& file, std::uint64_t offset,
                         std::span<const std::byte> data) {
  constexpr std::size_t kBlock = 4096;
  const auto is_zero = [](std::span<const std::byte> block) {
    return std::all_of(block.begin(), block.end(),
                       [](std::byte value) { return value == std::byte{0}; });
  };
  std::span<const std::byte> pending;  // not written yet, ends where `data` begins
  const auto flush = [&]() -> Result<void> {
    if (pending.empty()) return {};
    Result<void> written = file.WriteAt(offset - pending.size(), pending);
    pending = {};
    return written;
  };
  while (!data.empty()) {
    const std::size_t length = std::min<std::size_t>(kBlock - offset % kBlock, data.size());
    const std::span<const std::byte> block = data.first(length);
    if (is_zero(block)) {
      VMFERRY_RETURN_IF_ERROR(flush());
    } else {
      pending = {pending.empty() ? block.data() : pending.data(), pending.size() + length};
    }
    data = data.subspan(length);
    offset += length;
  }
  return flush();
}

}  // namespace

Error ClientError(std::string_view text) {
  return Error(ErrorCode::kInvalidArgument, "region.client_error",
               fmt::format("ClientError: {}", text));
}

Result<http::Request> Fetcher::ForUrl(std::string_view url) const {
  auto request = LocalRequest(url, context_.settings);
  if (!request) return ClientError(request.error().message());
  return request;
}

http::Request Fetcher::ForObject(std::string_view method, const ObjectName& object) const {
  http::Request request;
  request.method = method;
  request.url.scheme = "http";
  request.url.host = "127.0.0.1";
  request.url.port = context_.settings.port;
  request.url.path = fmt::format("/{}/{}", sigv4::UriEncode(object.bucket),
                                 sigv4::UriEncode(object.key, /*keep_slash=*/true));
  const std::string host = request.url.HostHeader();
  request.headers.Set("Host", host);
  const sigv4::Header host_header{"host", host};
  const sigv4::RequestView view{.method = request.method,
                                .path = request.url.path,
                                .query = {},
                                .headers = std::span(&host_header, 1),
                                .payload_hash = sigv4::kEmptyPayloadHash};
  const sigv4::Credentials credentials{.access_key_id = credentials_.access_key_id,
                                       .secret_access_key = credentials_.secret_access_key,
                                       .session_token = {},
                                       .expires = {}};
  const auto headers = sigv4::SignHeaders(view, credentials,
                                          {.region = context_.settings.region_name,
                                           .service = "s3",
                                           .time = context_.clock.WallNow(),
                                           .options = sigv4::S3Options()});
  for (const auto& [name, value] : headers) request.headers.Set(name, value);
  return request;
}

OpContext Fetcher::Timed(const OpContext& op) const {
  return op.WithDeadline(context_.clock.DeadlineIn(kRequestTime));
}

Result<FetchOutcome> Fetcher::Judge(const Result<http::Response>& response,
                                    std::string_view what) const {
  if (!response) {
    const Error& error = response.error();
    if (error.code() == ErrorCode::kUnavailable || error.code() == ErrorCode::kDeadlineExceeded) {
      return FetchOutcome::kBusy;
    }
    if (error.code() == ErrorCode::kResourceExhausted && error.reason() == "http.too_large") {
      return ClientError(fmt::format("{} is longer than it may be", what));
    }
    return error;
  }
  const int status = response->status;
  if (status == 200) return FetchOutcome::kDone;
  if (status == 404) return FetchOutcome::kMissing;
  if (status == 403) {
    return ClientError(
        "Disk validation failed [We do not have access to the given resource. Reason 403 "
        "Forbidden]");
  }
  if (status >= 400 && status < 500 && status != 408 && status != 429) {
    return ClientError(fmt::format("{} cannot be read: HTTP status {}", what, status));
  }
  return FetchOutcome::kBusy;
}

Result<Fetcher::Text> Fetcher::ReadText(const http::Request& request, std::string_view what,
                                        std::size_t limit_bytes, const OpContext& op) const {
  auto response = client_.Send(request, {.response_limit_bytes = limit_bytes}, Timed(op));
  VMFERRY_ASSIGN_OR_RETURN(const FetchOutcome outcome, Judge(response, what));
  Text text{.outcome = outcome};
  if (outcome == FetchOutcome::kDone) text.body = std::move(response->body);
  return text;
}

Result<Fetcher::Size> Fetcher::SizeOf(const ObjectName& object, const OpContext& op) const {
  const auto response = client_.Send(ForObject("HEAD", object), {}, Timed(op));
  VMFERRY_ASSIGN_OR_RETURN(const FetchOutcome outcome, Judge(response, "The object"));
  Size size{.outcome = outcome};
  if (outcome == FetchOutcome::kDone) {
    const auto length = response->headers.Find("Content-Length");
    size.bytes = ParseUint(length.value_or("")).value_or(0);
  }
  return size;
}

Result<Fetcher::Body> Fetcher::ToFile(const http::Request& request, std::string_view what,
                                      const Target& target, const OpContext& op) const {
  Body body;
  const auto take = [&](std::span<const std::byte> data) -> Result<void> {
    if (data.size() > target.limit_bytes - body.bytes) {
      return ClientError(fmt::format("{} is longer than its byte-range", what));
    }
    const std::uint64_t offset = target.offset_bytes + body.bytes;
    VMFERRY_RETURN_IF_ERROR(target.fresh ? WriteSparse(target.file, offset, data)
                                         : target.file.WriteAt(offset, data));
    body.bytes += data.size();
    if (target.progress) target.progress(body.bytes);
    return {};
  };
  const auto response =
      client_.Send(request, {.response_limit_bytes = target.limit_bytes, .sink = take}, Timed(op));
  VMFERRY_ASSIGN_OR_RETURN(body.outcome, Judge(response, what));
  return body;
}

}  // namespace vmferry::region
