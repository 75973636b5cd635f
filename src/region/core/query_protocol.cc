// SPDX-License-Identifier: Apache-2.0
#include "region/core/query_protocol.h"

#include <fmt/format.h>

#include <set>

#include "base/units.h"
#include "http/message.h"

namespace vmferry::region {
namespace {

// RunInstances with 1,000 tags and mappings stays below 5,000.
constexpr std::size_t kParametersMax = 20'000;

Error Malformed(std::string_view why) {
  return Error(ErrorCode::kInvalidArgument, "region.malformed_form",
               fmt::format("the request's form {}", why));
}

Result<void> ParseForm(std::string_view form,
                       std::map<std::string, std::string, std::less<>>& values) {
  while (!form.empty()) {
    const std::string_view pair = form.substr(0, form.find('&'));
    form.remove_prefix(std::min(pair.size() + 1, form.size()));
    if (pair.empty()) continue;
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const auto name = http::PercentDecode(pair.substr(0, equals), true);
    const auto value = http::PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value) return Malformed("holds a malformed percent escape");
    values.emplace(*name, *value);  // the first of a name counts
    if (values.size() > kParametersMax) return Malformed("has more than 20,000 parameters");
  }
  return {};
}

Answer XmlAnswer(int status, std::string body) {
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "text/xml;charset=UTF-8"}};
  answer.body = std::move(body);
  return answer;
}

}  // namespace

Result<QueryParameters> QueryParameters::Parse(const Call& call) {
  if (!call.payload.spool_path.empty()) return Malformed("is too long");
  QueryParameters parameters;
  for (const auto& [name, value] : call.query) parameters.values_.emplace(name, value);
  if (call.method == "POST") {
    VMFERRY_RETURN_IF_ERROR(ParseForm(call.payload.memory, parameters.values_));
  }
  return parameters;
}

const std::string* QueryParameters::Find(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

std::string QueryParameters::Get(std::string_view name) const {
  const std::string* found = Find(name);
  return found == nullptr ? std::string() : *found;
}

std::vector<std::uint64_t> QueryParameters::Indices(std::string_view name) const {
  std::set<std::uint64_t> numbers;
  const std::string prefix = std::string(name) + ".";
  for (auto it = values_.lower_bound(prefix);
       it != values_.end() && it->first.compare(0, prefix.size(), prefix) == 0; ++it) {
    const std::string_view rest = std::string_view(it->first).substr(prefix.size());
    const auto number = ParseUint(rest.substr(0, rest.find('.')));
    if (number) numbers.insert(*number);
  }
  return {numbers.begin(), numbers.end()};
}

std::vector<std::string> QueryParameters::List(std::string_view name) const {
  std::vector<std::string> items;
  for (const std::uint64_t index : Indices(name)) {
    const std::string* value = Find(fmt::format("{}.{}", name, index));
    if (value != nullptr) items.push_back(*value);
  }
  return items;
}

std::string QueryParameters::Member(std::string_view list, std::uint64_t index,
                                    std::string_view member) const {
  return Get(fmt::format("{}.{}.{}", list, index, member));
}

Answer Ec2ErrorAnswer(int status, std::string_view code, std::string_view message,
                      std::string_view request_id) {
  return XmlAnswer(
      status, fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                          "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error>"
                          "</Errors><RequestID>{}</RequestID></Response>",
                          XmlEscape(code), XmlEscape(message), request_id));
}

Answer Ec2Answer(std::string_view action, std::string_view version, std::string_view inner,
                 std::string_view request_id) {
  return XmlAnswer(200, fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                    "<{0}Response xmlns=\"http://ec2.amazonaws.com/doc/{1}/\">"
                                    "<requestId>{2}</requestId>{3}</{0}Response>",
                                    action, XmlEscape(version.empty() ? "2016-11-15" : version),
                                    request_id, inner));
}

Answer StsErrorAnswer(int status, std::string_view code, std::string_view message,
                      std::string_view request_id) {
  return XmlAnswer(
      status,
      fmt::format("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
                  "<Type>{}</Type><Code>{}</Code><Message>{}</Message></Error>"
                  "<RequestId>{}</RequestId></ErrorResponse>",
                  status >= 500 ? "Receiver" : "Sender", XmlEscape(code), XmlEscape(message),
                  request_id));
}

}  // namespace vmferry::region
