// SPDX-License-Identifier: Apache-2.0
#include "region/import/local_url.h"

#include <fmt/format.h>

#include "sigv4/canonical.h"

namespace vmferry::region {
namespace {

bool IsOwnAddress(const http::Url& url, const Settings& settings) {
  return url.port == settings.port &&
         (url.host == "127.0.0.1" || url.host == "localhost" || url.host.ends_with(".localhost"));
}

bool IsOwnName(const http::Url& url, const Settings& settings) {
  for (const std::string& name : {fmt::format("s3.{}.amazonaws.com", settings.region_name),
                                  std::string("s3.amazonaws.com")}) {
    if (url.host == name || url.host.ends_with("." + name)) return true;
  }
  return false;
}

}  // namespace

bool IsSignedUrl(std::string_view url) {
  const std::size_t query = url.find('?');
  if (query == url.npos) return false;
  const std::string_view parameters = url.substr(query + 1);
  for (const std::string_view name : {"X-Amz-Signature=", "Signature="}) {
    const std::size_t at = parameters.find(name);
    if (at == 0 || (at != parameters.npos && parameters[at - 1] == '&')) return true;
  }
  return false;
}

std::optional<ObjectName> ObjectOfUrl(std::string_view text, const Settings& settings) {
  constexpr std::string_view kScheme = "s3://";
  std::string bucket;
  std::string path;
  if (text.starts_with(kScheme)) {
    path = text.substr(kScheme.size());
  } else {
    const auto url = http::ParseUrl(text);
    if (!url || (!IsOwnAddress(*url, settings) && !IsOwnName(*url, settings))) return std::nullopt;
    path = sigv4::UriDecode(std::string_view(url->path).substr(1));
    const std::string_view host = url->host;
    const std::size_t s3 = host.find(".s3.");
    const std::size_t local = host.find(".localhost");
    const std::size_t end = s3 != host.npos ? s3 : local;
    if (end != host.npos) bucket = host.substr(0, end);
  }
  if (bucket.empty()) {
    const std::size_t slash = path.find('/');
    if (slash == path.npos) return std::nullopt;
    bucket = path.substr(0, slash);
    path.erase(0, slash + 1);
  }
  if (bucket.empty() || path.empty()) return std::nullopt;
  return ObjectName{std::move(bucket), std::move(path)};
}

Result<http::Request> LocalRequest(std::string_view text, const Settings& settings) {
  auto url = http::ParseUrl(text);
  if (!url) {
    return Error(ErrorCode::kInvalidArgument, "region.foreign_url", "a URL is not understood")
        .CausedBy(url.error());
  }
  if (!IsOwnAddress(*url, settings) && !IsOwnName(*url, settings)) {
    return Error(ErrorCode::kPermissionDenied, "region.foreign_url",
                 fmt::format("the URL {} points outside this region", url->ToLogString()));
  }
  http::Request request;
  request.headers.Set("Host", url->HostHeader());
  request.url = *url;
  request.url.scheme = "http";
  request.url.host = "127.0.0.1";
  request.url.port = settings.port;
  return request;
}

}  // namespace vmferry::region
