// SPDX-License-Identifier: Apache-2.0
#include "region/import/local_url.h"

#include <fmt/format.h>

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
