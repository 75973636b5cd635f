// SPDX-License-Identifier: Apache-2.0
#include "region/core/host_name.h"

#include <algorithm>
#include <array>

namespace vmferry::region {
namespace {

constexpr std::array<std::string_view, 5> kServices = {"ec2", "s3", "ebs", "sts", "iam"};
constexpr std::string_view kAws = ".amazonaws.com";
constexpr std::string_view kLocal = ".localhost";

/// Takes the last label off `rest`.
std::string_view TakeLast(std::string_view& rest) {
  const std::size_t dot = rest.rfind('.');
  const std::string_view label = dot == rest.npos ? rest : rest.substr(dot + 1);
  rest = dot == rest.npos ? std::string_view() : rest.substr(0, dot);
  return label;
}

bool IsService(std::string_view label) {
  return std::ranges::find(kServices, label) != kServices.end();
}

/// `rest` is what stands before the service's label.
HostName Named(std::string_view service, std::string_view region, std::string_view rest) {
  if (!rest.empty() && service != "s3") return {};
  return {std::string(service), std::string(region), std::string(rest)};
}

HostName ParseAws(std::string_view rest) {
  const std::string_view last = TakeLast(rest);
  // A global endpoint, unless a region follows: no region has the name of a service.
  if (IsService(last)) return Named(last, "", rest);
  if (last.starts_with("s3-")) return Named("s3", last.substr(3), rest);  // old, with a dash
  std::string_view before = TakeLast(rest);
  if (before == "dualstack") before = TakeLast(rest);
  return IsService(before) ? Named(before, last, rest) : HostName();
}

}  // namespace

HostName ParseHost(std::string_view host) {
  std::string name(host.substr(0, host.find(':')));
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (name.ends_with('.')) name.pop_back();
  std::string_view rest = name;
  if (rest.ends_with(kAws)) return ParseAws(rest.substr(0, rest.size() - kAws.size()));
  if (!rest.ends_with(kLocal)) return {};
  rest.remove_suffix(kLocal.size());
  if (rest == "s3") return {"s3", "", ""};
  if (rest.ends_with(".s3")) rest.remove_suffix(3);
  return {"s3", "", std::string(rest)};
}

}  // namespace vmferry::region
